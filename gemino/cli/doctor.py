"""`gemino doctor`: is everything there for a call, and how fast is this machine?"""

import json
import math
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from gemino.cli.console import NO_MODEL
from gemino.cli.edge import EXIT_ERROR
from gemino.errors import GeminoError
from gemino.zoo import DEFAULT_MODEL

_MAX_SECONDS = 600.0


def doctor(
    model: Annotated[str, typer.Option(help="A name, a folder, or none.")] = DEFAULT_MODEL,
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "classical"],
        typer.Option(help="What runs the model; auto: what is fast enough on this machine."),
    ] = "auto",
    seconds: Annotated[
        float, typer.Option(help="Seconds of timing the network, for each size.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Check the camera, codecs, ports and the model, time the network, and say what to expect.

    Ends with exit code 2 if something is missing without which there is no call. Other programs
    that run meanwhile make the figures smaller.

    Example: gemino doctor --model none
    """
    if not (math.isfinite(seconds) and 0 < seconds <= _MAX_SECONDS):
        raise GeminoError(f"--seconds: give more than 0 and at most {_MAX_SECONDS:g}")
    from gemino.cli.checks import expect, run_checks

    checks = []
    for check in run_checks(None if model == NO_MODEL else model, runtime, seconds):
        checks.append(check)
        if not as_json:
            typer.echo(f"{check.status:<9}{check.name:<9}{check.says}")
    speeds = {c.facts["size_px"]: c.facts["fps"] for c in checks if "size_px" in c.facts}
    ready = all(check.status != "missing" for check in checks)
    outlook = expect(speeds) if ready else "A call needs what is missing."
    if as_json:
        rows = [asdict(check) for check in checks]
        typer.echo(json.dumps({"ready": ready, "expect": outlook, "checks": rows}))
    else:
        typer.echo(f"\n{outlook}")
    if not ready:
        raise typer.Exit(EXIT_ERROR)
