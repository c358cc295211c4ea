"""What the file commands share: where they talk, their progress bar, sizes and tables."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gemino.config import OUTPUT_SIZES_PX
from gemino.errors import GeminoError, MediaError
from gemino.zoo import adapted

if TYPE_CHECKING:
    from gemino.evaluation import tables

NO_MODEL = "none"
"""Asks for classical upsampling where a model could be named."""

console = Console(stderr=True)


def refuse_same(source: Path, output: Path) -> None:
    """Raise MediaError where writing `output` would destroy `source`."""
    if source.resolve() == output.resolve():
        raise MediaError(f"{output}: is the input; write to another file")


def check_folder(path: Path) -> None:
    """Raise MediaError where there is no folder to write `path` into."""
    if not path.parent.is_dir():
        raise MediaError(f"{path}: there is no folder {path.parent}; make it first")


def with_adapter(model: str, adapter: str | None) -> str:
    """The name of `model` with a personal adapter, where one is given."""
    if adapter is None:
        return model
    if model == NO_MODEL:
        raise GeminoError("--adapter changes a model: leave --model none out")
    return adapted(model, adapter)


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


def sizes_px(text: str) -> list[int]:
    """The output sizes of `--size`, as 512,1024, in rising order."""
    known = {str(size): size for size in OUTPUT_SIZES_PX}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        named = ", ".join(unknown) or "none"
        raise GeminoError(f"--size: {named} is not of {', '.join(known)}")
    return sorted({known[part] for part in parts})


def shown(table: "tables.Table") -> Table:
    """The table, as wide as it needs to be: what a terminal cannot show is in the files."""
    drawn = Table(title=table.heading, caption=table.note.replace("\\", "") or None)
    for at, heading in enumerate(table.header):
        drawn.add_column(Text(heading), justify="right" if at else "left")
    for at, cells in enumerate(table.rows):
        style = "bold" if at in table.strong else None
        drawn.add_row(*map(Text, cells), style=style)
    return drawn
