"""`gemino personalize`: a minute of somebody's own video in, a small adapter out."""

import re
from pathlib import Path
from typing import Annotated

import typer

from gemino.cli.console import console
from gemino.errors import GeminoError
from gemino.zoo import DEFAULT_MODEL

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def personalize(
    videos: Annotated[list[Path], typer.Argument(help="Videos of one person, talking.")],
    name: Annotated[str, typer.Option(help="Whose adapter it is: a folder below --models.")],
    model: Annotated[str, typer.Option(help="The model that it adapts.")] = DEFAULT_MODEL,
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of training, at most.")] = 15.0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training, at most.")] = 1200,
    rank: Annotated[int, typer.Option(min=1, max=24, help="Size of the adapter: 2 to 24.")] = 24,
    seconds: Annotated[
        float, typer.Option(min=5.0, max=600.0, help="Use so much of the videos, at most.")
    ] = 180.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    mixed_precision: Annotated[
        bool, typer.Option(help="Compute in bfloat16 where it does no harm.")
    ] = True,
    threads: Annotated[
        int, typer.Option(min=0, max=1024, help="CPU threads; 0: one for each core.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Decides batches and first weights.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint.")] = True,
    runs: Annotated[
        Path, typer.Option(help="Where footage and checkpoints lie until it is done.")
    ] = Path("runs/personal"),
    models: Annotated[Path, typer.Option(help="Where the adapter is written.")] = Path(
        "models/personal"
    ),
) -> None:
    """Learn one person's face from their own video, for calls that look better.

    A minute of talking into the camera, alone, is good. The generic network stays as it is; what
    is learned is a file of half a megabyte at most, and only written if it is better than the
    generic network on the last part of the video. Interrupt it at any time: the same command goes
    on.

    Example: gemino personalize me.mp4 --name me, then gemino decode call.gem --adapter me -o a.mp4
    """
    if not _NAME.fullmatch(name):
        raise GeminoError(f"--name must be letters, digits, '.', '_' and '-', not {name!r}")
    if device not in ("auto", "cpu", "cuda"):
        raise GeminoError(f"--device must be auto, cpu or cuda, not {device!r}")
    from gemino.personal.program import PersonalOptions, run

    options = PersonalOptions(
        videos,
        name,
        model,
        minutes,
        steps,
        rank,
        seconds=seconds,
        device=device,
        mixed_precision=mixed_precision,
        threads=threads,
        seed=seed,
        resume=resume,
        runs=runs,
        models=models,
    )
    written = run(options, console)
    console.print(f"the adapter is in {written}: --adapter {name}", soft_wrap=True)
