"""`gemino demo`: calls between two processes on this machine, looked at from all sides."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.status import Status

import gemino
from gemino.cli.console import NO_MODEL, console
from gemino.config import MAX_KBPS, MIN_KBPS
from gemino.errors import MediaError
from gemino.media import MovieWriter, probe
from gemino.zoo import DEFAULT_MODEL, find

if TYPE_CHECKING:
    from gemino.evaluation.demonstration import RecordedCall
    from gemino.evaluation.report import ClipReport

_SAMPLES = ("webcam.mp4", "address.mp4")
_RESULTS = ("side_by_side.mp4", "received.mp4", "comparison.png", "report.html", "report.json")
_FEW = 0.8
"""Below this share of its frames, a call has not worked."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demonstration makes.")] = Path(
        "out/demo"
    ),
    size: Annotated[
        Literal["256", "512", "768", "1024"],
        typer.Option(help="Side of the picture that the receiver rebuilds."),
    ] = "512",
    kbps: Annotated[
        float,
        typer.Option(
            min=MIN_KBPS,
            max=MAX_KBPS,
            help="Total video payload, references spread over 60 s, or the clip if it is longer.",
        ),
    ] = 15.0,
    model: Annotated[
        str, typer.Option(help="Model that rebuilds, by name or folder, or none.")
    ] = DEFAULT_MODEL,
    clips: Annotated[
        list[Path] | None,
        typer.Option(help="Clip to play; repeat for more. Default: the two shipped ones."),
    ] = None,
) -> None:
    """Hold a real call for each clip, then measure and show what came through.

    Each call runs between two processes over UDP. Afterwards the clip is coded with VP8 and AV1
    at the same rate, and everything is compared by LPIPS. Of a long clip, 30 s are played.

    Example: gemino demo --kbps 20 --clips me.mp4
    """
    chosen = clips or _samples()
    for clip in chosen:
        probe(clip)
    if model != NO_MODEL:
        find(model)
    from gemino.evaluation.clips import names

    named = names(chosen)
    _make_folders(out, named)
    with TemporaryDirectory(dir=out, prefix=".recordings-") as folder, console.status("") as status:
        calls = [
            _call(clip, name, out, Path(folder), int(size), kbps, model, status)
            for clip, name in zip(chosen, named, strict=True)
        ]
        reports = _measure(chosen, named, calls, out, int(size), status)
    _show(reports, out)


def _samples() -> list[Path]:
    folder = Path(gemino.__path__[0]).parent / "samples"
    found = [folder / name for name in _SAMPLES if (folder / name).is_file()]
    if not found:
        raise MediaError("the sample clips are not installed; name a clip: --clips FILE")
    return found


def _make_folders(out: Path, names: Sequence[str]) -> None:
    try:
        for name in names:
            (out / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{out}: results cannot be written there ({error.strerror})") from error


def _call(
    clip: Path,
    name: str,
    out: Path,
    recordings: Path,
    size_px: int,
    kbps: float,
    model: str,
    status: Status,
) -> "RecordedCall":
    """Hold the call; its movie stays in the clip's folder, its recording in `recordings`."""
    from gemino.call import loopback
    from gemino.evaluation.clips import MAX_SECONDS
    from gemino.evaluation.demonstration import RecordedCall

    _tell(status, name, f"holding a call of {size_px} px at {kbps:g} kbps")
    lossless = recordings / f"{name}.nut"
    media = loopback.MediaOptions(
        kbps=kbps,
        size_px=size_px,
        model=None if model == NO_MODEL else model,
        seconds=MAX_SECONDS,
    )
    options = loopback.LoopbackOptions(
        clip=clip, media=media, output=out / name / "received.mp4", record_lossless=lossless
    )
    report = loopback.run(options, lambda peer, line: status.update(f"{name}, {peer}: {line}"))
    return RecordedCall(report.to_json(), lossless, lossless.with_suffix(".jsonl"))


def _measure(
    clips: Sequence[Path],
    names: Sequence[str],
    calls: "Sequence[RecordedCall]",
    out: Path,
    size_px: int,
    status: Status,
) -> "list[ClipReport]":
    from gemino.evaluation import report
    from gemino.evaluation.clips import expected_frames, load
    from gemino.evaluation.demonstration import demonstrate, side_by_side_size, step_for
    from gemino.evaluation.metrics import use_one_thread
    from gemino.evaluation.pictures import column, save
    from gemino.media.joining import join
    from gemino.runtime.perceptual import load_lpips

    use_one_thread()
    network = load_lpips()
    reports, pictures, start_s = [], [], 0.0
    movie_size = side_by_side_size(size_px)
    with MovieWriter(out / "side_by_side.mp4", movie_size, probe(clips[0]).fps) as movie:
        for clip, name, call in zip(clips, names, calls, strict=True):
            every = step_for(expected_frames(probe(clip)))
            footage = load(clip, size_px, every, name=name)
            tell = partial(_tell, status, name)
            clip_report, picture = demonstrate(footage, call, movie, start_s, network, tell)
            reports.append(clip_report)
            pictures.append(picture)
            start_s += footage.seconds
    save(out / "comparison.png", column(pictures))
    join([out / name / "received.mp4" for name in names], out / "received.mp4")
    report.write_json(out / "report.json", reports)
    report.write_html(out / "report.html", reports)
    return reports


def _show(reports: "Sequence[ClipReport]", out: Path) -> None:
    from gemino.evaluation.report import table

    Console().print(table(reports))
    for clip in reports:
        shown, there = clip.call["frames_shown"], clip.call["frames_in_clip"]
        if shown < _FEW * there:
            console.print(
                f"note: the call of {clip.clip} showed {shown} of {there} frames; this machine was "
                "too slow or too busy for it, and its figures say little"
            )
    for name in _RESULTS:
        typer.echo(f"look at {out / name}")


def _tell(status: Status, name: str, what: str) -> None:
    """Say what is being done: on a terminal in place, else a line each."""
    status.update(f"{name}: {what}")
    if not console.is_terminal:
        console.print(f"{name}: {what}")
