"""What training is made of: a folder's clips, checked, and played through the codec.

A clip that cannot be used is left out and named, with the reason, where the others go on: one bad
file must not end a night's work, nor go unnoticed.
"""

from collections.abc import Callable
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from gemino import media, processes
from gemino.errors import GeminoError, MediaError
from gemino.training.degrade import load, load_or_build
from gemino.training.sequence import Sequence, SequenceSettings

SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi"}
_MOST_NAMES = 8

Job = tuple[Path, SequenceSettings]
"""A clip, and one of the sequences to be made of it."""


@dataclass(frozen=True, slots=True)
class Material:
    """Sequences in the order of their jobs; left_out: a clip's file name and why it is not used."""

    sequences: list[Sequence]
    left_out: dict[str, str]


def list_clips(folder: Path) -> list[Path]:
    """The clips in `folder`, by name. MediaError where there is none."""
    if not folder.is_dir():
        raise MediaError(f"{folder}: is not a folder; give one that holds video clips")
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not clips:
        raise MediaError(f"{folder}: holds no clips; put {', '.join(sorted(SUFFIXES))} files there")
    return clips


def remarks(clips: list[Path], output_px: int) -> list[str]:
    """What is done to clips that can be used but do not fit, a line a kind. Opens every clip."""
    cropped, enlarged = [], []
    for clip in clips:
        try:
            info = media.probe(clip)
        except MediaError:
            continue  # building its sequence fails too, and names it
        if info.width != info.height:
            cropped.append(f"{clip.name} ({info.width}x{info.height})")
        if min(info.width, info.height) < output_px:
            enlarged.append(f"{clip.name} ({info.width}x{info.height})")
    lines = []
    if cropped:
        lines.append(f"not square, the middle is used: {_some(cropped)}")
    if enlarged:
        lines.append(f"smaller than {output_px} px and so enlarged, soft: {_some(enlarged)}")
    return lines


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def gather(
    jobs: list[Job], cache: Path, workers: int, progress: Callable[[str | None], None]
) -> Material:
    """The sequences of all `jobs`; those not in `cache` are built by `workers` processes.

    progress: called once a job, with a line where its clip is left out and None else. Raises
    MediaError where nothing is left.
    """
    left_out: dict[str, str] = {}

    def advance(index: int, error: str | None) -> None:
        clip = jobs[index][0]
        if error is None:
            progress(None)
            return
        left_out[clip.name] = error.removeprefix(f"{clip}: ")
        progress(f"left out: {clip.name}: {left_out[clip.name]}")

    missing = []
    for index, (clip, settings) in enumerate(jobs):
        if _is_there(clip, settings, cache):
            advance(index, None)
        else:
            missing.append(index)
    if missing:
        _build(jobs, missing, cache, workers, advance)
    sequences = find(jobs, cache)
    if not sequences:
        name, why = next(iter(left_out.items()))
        raise MediaError(f"no clip could be used; the first, {name}: {why}")
    return Material(sequences, left_out)


def find(jobs: list[Job], cache: Path) -> list[Sequence]:
    """The sequences of those `jobs` that are in `cache`; nothing is built."""
    found = []
    for clip, settings in jobs:
        try:
            sequence = load(clip, settings, cache)
        except MediaError:
            continue
        if sequence is not None:
            found.append(sequence)
    return found


def _is_there(clip: Path, settings: SequenceSettings, cache: Path) -> bool:
    try:
        return load(clip, settings, cache) is not None
    except MediaError:
        return False


def _build(
    jobs: list[Job],
    missing: list[int],
    cache: Path,
    workers: int,
    advance: Callable[[int, str | None], None],
) -> None:
    """Build the sequences of `missing` jobs, each in a process that its clip may bring down."""
    unknown = []
    with processes.pool(workers) as pool:
        waiting = {pool.submit(load_or_build, *jobs[index], cache): index for index in missing}
        try:
            for future in as_completed(waiting):
                try:
                    advance(waiting[future], _failure(future))
                except BrokenProcessPool:
                    unknown.append(waiting[future])
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    # A process died, and with it all that waited: alone, each clip shows whether it was the one.
    for index in sorted(unknown):
        with processes.pool(1) as pool:
            try:
                advance(index, _failure(pool.submit(load_or_build, *jobs[index], cache)))
            except BrokenProcessPool:
                advance(index, "crashes its decoder, or needs more memory than there is")


def _failure(future: Future[Sequence]) -> str | None:
    """Why a sequence could not be built; None where it could."""
    try:
        future.result()
    except GeminoError as error:
        return str(error)
    return None
