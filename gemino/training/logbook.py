"""What a training tells while it runs: a bar or lines, curves and pictures, a list of looks."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gemino.training.checkpoint import Clock
from gemino.training.trainer import Look, Report

_REPORT_EVERY = 20
_LOOKS = "validation.jsonl"


def bar(console: Console) -> Progress:
    """A progress bar; on a terminal only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:5.1f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def counted(
    what: str, total: int, console: Console, note: str = ""
) -> Iterator[Callable[[str | None], None]]:
    """A bar over `total` things; what it gives is called once for each, with a line to print or
    None.
    """
    with bar(console) as shown:
        task = shown.add_task(what, total=total, note=note)

        def advance(line: str | None) -> None:
            shown.update(task, advance=1)
            if line is not None:
                console.print(line, soft_wrap=True)

        yield advance


class Logbook:
    """Curves for TensorBoard and `validation.jsonl` in `folder`; a context manager.

    clock: where the training goes on. What was written after that step is dropped: a training that
    was killed had walked on from its last checkpoint, and walks there again.
    """

    def __init__(self, folder: Path, clock: Clock, console: Console) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path, self._clock, self._console = folder / _LOOKS, clock, console
        _drop_after(self._path, clock.step)
        self._curves = SummaryWriter(str(folder), purge_step=clock.step + 1)
        self._bar = bar(console)
        self._task = self._bar.add_task("training", total=1.0, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._curves.close()

    def report(self, step: Report) -> None:
        """Take note of a step."""
        note = " ".join(f"{name} {value:.3f}" for name, value in step.terms.items())
        self._bar.update(self._task, completed=step.fraction, note=f"step {step.step} {note}")
        if step.step % _REPORT_EVERY:
            return
        if not self._console.is_terminal:  # a bar in a log file shows nothing until the end
            self._console.print(f"{step.fraction:.1%} step {step.step} {note}", soft_wrap=True)
        for name, value in {**step.terms, "learning_rate": step.learning_rate}.items():
            self._curves.add_scalar(name, value, step.step)

    def look(self, seen: Look) -> None:
        """Take note of a validation."""
        self._curves.add_scalar("validation/lpips", seen.mean, seen.step)
        self._curves.add_image("validation", seen.grid, seen.step, dataformats="HWC")
        line = {"step": seen.step, "seconds": self._clock.seconds, "lpips": seen.lpips}
        with self._path.open("a") as log:
            log.write(json.dumps(line) + "\n")
        self._console.print(f"step {seen.step}: LPIPS of people not trained on {seen.mean:.4f}")


def _drop_after(path: Path, step: int) -> None:
    """Keep the looks up to `step`, of a list that may end in half a line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            seen = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(seen, int) and seen <= step:
            kept.append(line + "\n")
    path.write_text("".join(kept))
