"""`gemino bench`: how long each stage takes on this machine."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer
from rich.console import Console
from rich.progress import TaskID

from gemino.cli.console import console, progress, shown, sizes_px
from gemino.cli.grouping import grouped
from gemino.errors import GeminoError
from gemino.zoo import DEFAULT_MODEL, find

if TYPE_CHECKING:
    from gemino.timing.bench import Case, Record

_DEVICES = ("auto", "cpu", "cuda", "mps")
# What tells oneDNN and torch's own kernels to leave newer instructions alone; only as they start.
_LIMITS = {"avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}
_UNTRAINED = ("xs", "s", "l")
_MAX_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class _Timed:
    """What is timed, and how."""

    heading: ClassVar[str] = "What is timed"

    size: Annotated[str, typer.Option(help="Sides of the pictures shown.")] = "512,1024"
    model: Annotated[
        str,
        typer.Option(
            help="Models or exports, by name or folder; xs, s or l: such a network, untrained."
        ),
    ] = DEFAULT_MODEL
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads a frame.")] = 1
    seconds: Annotated[
        float, typer.Option(help="Seconds of timing, for each model at each size.")
    ] = 10
    isa: Annotated[
        Literal["all", "avx2"],
        typer.Option(help="avx2: as on a processor without AVX-512 and AMX."),
    ] = "all"
    limited: Annotated[bool, typer.Option("--limited", hidden=True)] = False

    def check(self) -> None:
        """Raise GeminoError for what cannot be timed."""
        if self.device not in _DEVICES:
            raise GeminoError(f"--device: {self.device} is not of {', '.join(_DEVICES)}")
        if not (math.isfinite(self.seconds) and 0 < self.seconds <= _MAX_SECONDS):
            raise GeminoError(f"--seconds: give more than 0 and at most {_MAX_SECONDS:g}")
        cores = os.cpu_count() or 1
        if self.threads > cores:
            raise GeminoError(
                f"--threads: this machine has {cores} cores, fewer than {self.threads}"
            )


@dataclass(frozen=True, slots=True)
class _Written:
    """What is written."""

    heading: ClassVar[str] = "What is written"

    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")
    ] = None
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tables there.")
    ] = None
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="TRACE", help="Write what torch's profiler sees of a few frames, for Chrome."
        ),
    ] = None


@grouped
def bench(timed: _Timed, written: _Written) -> None:
    """Time every stage of the codec, and compare with what this machine can do at best.

    Stages take turns in one run, each model and size in a process of its own. What is measured is
    in docs/performance.md; a machine that does nothing else gives the figures to quote. Ctrl-C
    keeps the models and sizes that are done.

    Example: gemino bench --size 1024 --model xs,s,l --json bench.json
    """
    sizes, models = sizes_px(timed.size), _models(timed.model)
    timed.check()
    if timed.isa != "all" and not timed.limited:
        raise typer.Exit(_again(_LIMITS[timed.isa]))
    from gemino.timing.bench import Case
    from gemino.timing.tables import check_writable

    several = len(sizes) * len(models) > 1
    for path in (written.as_json, written.markdown, written.profile):
        if path is not None:
            check_writable(path)
    cases = [
        Case(
            *(name, px, timed.device, timed.threads, timed.seconds),
            _trace(written.profile, name, px, several),
            isa="" if timed.isa == "all" else timed.isa,
        )
        for name in models
        for px in sizes
    ]
    _publish(_measure(cases, written.as_json), written.markdown)


def _again(limits: Mapping[str, str]) -> int:
    """This very command in a process that is started with `limits`; its exit code."""
    program = "from gemino.cli.main import main; main()"
    words = [sys.executable, "-c", program, *sys.argv[1:], "--limited"]
    return subprocess.run(words, env={**os.environ, **limits}, check=False).returncode


def _measure(cases: "Sequence[Case]", as_json: Path | None) -> "list[Record]":
    """The cases' figures; what is done is written as it comes."""
    from gemino.timing.apart import run_apart
    from gemino.timing.tables import write_json

    records: list[Record] = []
    with progress() as bar:
        for number, case in enumerate(cases, 1):
            what = f"{case.model} at {case.output_px} px ({number} of {len(cases)})"
            work = bar.add_task(what, total=100)

            def told(so_far: float, work: TaskID = work) -> None:
                bar.update(work, completed=round(100 * so_far))

            try:
                records.append(run_apart(case, told))
            except KeyboardInterrupt:
                kept = "nothing is kept; --json FILE keeps what is done"
                if as_json is not None:
                    where = f" in {as_json}" if records else ""
                    kept = f"{len(records)} of {len(cases)} are kept{where}"
                console.print(f"interrupted; {kept}", soft_wrap=True)
                raise
            bar.remove_task(work)
            if as_json is not None:
                write_json(as_json, records)
    return records


def _publish(records: "Sequence[Record]", markdown: Path | None) -> None:
    from gemino.timing.tables import published, write_markdown

    tables = published(records)
    if markdown is not None:
        write_markdown(markdown, tables)
    for table in tables:
        Console().print(shown(table))


def _models(text: str) -> list[str]:
    """The models of a comma-separated list; ModelError where one is missing or damaged."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise GeminoError(f"--model: name a model, or one of {', '.join(_UNTRAINED)}")
    for name in names:
        if name not in _UNTRAINED:
            find(name)
    return names


def _trace(path: Path | None, model: str, px: int, several: bool) -> Path | None:
    """Where a case's trace goes: each in a file of its own."""
    if path is None or not several:
        return path
    word = re.sub(r"[^\w.-]+", "-", model).strip("-")
    return path.with_name(f"{path.stem}-{word}-{px}{path.suffix}")
