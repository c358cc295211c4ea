"""What the file commands share: where they talk, and their progress bar."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gemino.errors import MediaError

NO_MODEL = "none"
"""Asks for classical upsampling where a model could be named."""

console = Console(stderr=True)


def refuse_same(source: Path, output: Path) -> None:
    """Raise MediaError where writing `output` would destroy `source`."""
    if source.resolve() == output.resolve():
        raise MediaError(f"{output}: is the input; write to another file")


def progress() -> Progress:
    """A bar with the time that is left, on a terminal only; gone when done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
