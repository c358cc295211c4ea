"""`gemino evaluate`: the published figures, from clips of one's own."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from gemino.cli.console import NO_MODEL, console, progress
from gemino.config import MAX_KBPS, MIN_KBPS, reference_budget_bytes
from gemino.errors import GeminoError, MediaError
from gemino.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from gemino.evaluation.compare import Comparison

_CODECS = ("gemino", "bicubic", "vp8", "vp9", "av1")


def evaluate(
    clips: Annotated[list[Path], typer.Argument(help="Clips, or folders of them.")],
    size: Annotated[
        Literal["256", "512", "768", "1024"],
        typer.Option(help="Side of the picture that is rebuilt and measured."),
    ] = "512",
    kbps: Annotated[
        float,
        typer.Option(
            min=MIN_KBPS, max=MAX_KBPS, help="Total payload of each codec, references included."
        ),
    ] = 15.0,
    model: Annotated[
        str, typer.Option(help="Model that rebuilds, by name or folder, or none.")
    ] = DEFAULT_MODEL,
    codecs: Annotated[
        str, typer.Option(help=f"Which to compare, of {','.join(_CODECS)}.")
    ] = "gemino,bicubic,vp8,av1",
    every: Annotated[int, typer.Option(min=1, max=1000, help="Measure every so many frames.")] = 10,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=120.0, help="Use so much of each clip.")
    ] = 30.0,
    reference_bytes: Annotated[
        int | None,
        typer.Option(min=1000, max=200_000, help="Most bytes of a reference.  [by size]"),
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")
    ] = None,
    strips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a picture of each clip there.")
    ] = None,
) -> None:
    """Code clips with Gemino and other codecs at one rate, and measure what becomes of them.

    No call is held: Gemino's reference is there from the first frame. LPIPS is v0.1 with AlexNet.
    What exactly is compared is in docs/evaluation.md.

    Example: gemino evaluate samples/webcam.mp4 --kbps 15 --strips out/strips
    """
    chosen = _chosen(codecs)
    if strips is not None:
        _make_folder(strips)
    if as_json is not None and not as_json.parent.is_dir():
        raise MediaError(f"{as_json}: cannot be written (no such folder)")

    from gemino.evaluation import clips as room
    from gemino.evaluation.compare import Judge, strip, table
    from gemino.evaluation.metrics import use_one_thread
    from gemino.evaluation.pictures import save
    from gemino.runtime import open_synthesizer
    from gemino.runtime.perceptual import load_lpips

    found = room.find(clips)
    use_one_thread()
    judge = Judge(
        network=load_lpips(),
        synthesizer=open_synthesizer(None if model == NO_MODEL else model, int(size)),
        codecs=chosen,
        kbps=kbps,
        reference_bytes=reference_bytes or reference_budget_bytes(kbps, int(size)),
    )
    comparisons: list[Comparison] = []
    with progress() as bar:
        task = bar.add_task("", total=len(found))
        for clip in found:
            footage = room.load(clip, int(size), every, max_seconds=seconds)
            tell = partial(_tell, bar, task, clip.name)
            comparison, pictures = judge.compare(footage, tell)
            comparisons.append(comparison)
            if strips is not None:
                save(strips / f"{clip.stem}.png", strip(footage, comparison, pictures))
            bar.advance(task)
            if not console.is_terminal:
                console.print(_line(comparison), soft_wrap=True)
    _write(as_json, comparisons)
    Console().print(table(comparisons))


def _tell(bar: Progress, task: TaskID, clip: str, codec: str) -> None:
    bar.update(task, description=f"{clip}: {codec}")


def _chosen(codecs: str) -> list[str]:
    chosen = [name.strip() for name in codecs.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in _CODECS]
    if unknown or not chosen:
        named = ", ".join(unknown) or "none"
        raise GeminoError(f"--codecs: {named} is not of {', '.join(_CODECS)}")
    return chosen


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder}: cannot be written to ({error.strerror})") from error


def _line(comparison: "Comparison") -> str:
    figures = ", ".join(
        f"{codec} {result.lpips:.4f} at {result.rates.payload_kbps:.1f} kbps"
        for codec, result in comparison.results.items()
    )
    return f"{comparison.clip}: LPIPS {figures}"


def _write(path: Path | None, comparisons: "Sequence[Comparison]") -> None:
    if path is None:
        return
    from gemino.evaluation.compare import to_json

    try:
        path.write_text(json.dumps(to_json(comparisons), indent=1) + "\n")
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
