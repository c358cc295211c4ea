"""Videos in, takes out: each a small lossless file, and a sheet that shows what is used.

A video is read twice from its start and never held: once to look, once to cut. What it leaves on
disk, `takes/` in the run's folder, is a person's face, and is deleted once the adapter is written.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from gemino import media
from gemino.errors import MediaError
from gemino.faces import FaceFinder
from gemino.frames import Frame, crop_square, resize
from gemino.media import DamagedMediaError, MovieWriter
from gemino.personal.detectors import DEFAULT_DETECTOR, DetectorName, named, open_detector
from gemino.personal.looking import LOOKS_PER_S, Look, Looker, flaws
from gemino.personal.sheet import Kind, Tile, write_sheet
from gemino.personal.takes import GOOD_SECONDS, MIN_SECONDS, Take, limit, select, split

_MAX_FPS = 32
_TAKE_PX = 640
_TILE_PX = 160
_MEGABYTES_A_SECOND = 40
"""Takes and sequences on disk, of a second of video at 512 px."""
_EXAMPLES = 2  # of each flaw, for the sheet
_INDEX = "footage.json"
_TAKES = "takes"
SHEET = "contact.png"
_ADVICE = {
    "no face": "no face is seen: look into the camera, from an arm's length",
    "several faces": "several faces are seen: film one person alone",
    "small face": "the face is small: come closer to the camera",
    "dark": "it is too dark: put a light in front of you",
    "blurred": "it is blurred: put the camera down, and clean its lens",
    "drawn": "it is drawn, or smoothed until no skin is left: film yourself as you are",
    "cut": "it is cut again and again: give one take",
    "restless": "the good parts are too short: stay in the picture, alone",
}


@dataclass(frozen=True, slots=True)
class Footage:
    """What there is to learn from. learned, judged: files of takes to train on and to judge by.

    seconds, judged_s: of video in both, and in the latter. dropped_s: by reason. warnings: lines
    for people. detector: what found the face.
    """

    learned: list[Path]
    judged: list[Path]
    seconds: float
    judged_s: float
    dropped_s: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    detector: DetectorName = DEFAULT_DETECTOR


@dataclass(frozen=True, slots=True)
class _Seen:
    """One video, looked at. step: every so many frames one is used. flawed: times of examples for
    the sheet, and what is wrong there."""

    path: Path
    fps: Fraction
    step: int
    takes: list[Take]
    dropped_s: dict[str, float]
    flawed: dict[float, str]
    warning: str | None


def prepare(
    videos: Sequence[Path],
    folder: Path,
    most_s: float,
    tell: Callable[[str], None],
    detector: DetectorName = DEFAULT_DETECTOR,
    device: str = "cpu",
) -> Footage:
    """Cut the takes of `videos`, in their order, into `folder`, and draw the contact sheet there.

    Takes of the same files that are there already are kept. most_s: of all videos together. tell:
    gets a line for each video. detector, device: what finds the face, and where it runs. Raises
    MediaError where a video cannot be read, shows nobody or a photo, or where too little is left,
    and, before all that, what `open_detector` raises.
    """
    key = _key(videos, most_s, detector)
    known = _known(folder, key)
    if known is not None:
        return known
    finder = open_detector(detector, device, tell)
    seen = [_look(number, video, finder, tell) for number, video in enumerate(videos)]
    dropped_s: dict[str, float] = {}
    takes: list[Take] = []
    for one in seen:
        takes += one.takes
        for why, seconds in one.dropped_s.items():
            dropped_s[why] = dropped_s.get(why, 0.0) + seconds
    takes = limit(takes, most_s)
    total_s = sum(take.seconds for take in takes)
    if total_s < MIN_SECONDS:
        raise MediaError(_too_little(videos, total_s, dropped_s))
    shutil.rmtree(folder / _TAKES, ignore_errors=True)
    (folder / _TAKES).mkdir(parents=True)
    learned, judged, tiles = _cut(seen, takes, folder / _TAKES)
    write_sheet(tiles, folder / SHEET)
    judged_s = sum(take.seconds for take in split(takes)[1])
    warnings = [one.warning for one in seen if one.warning is not None]
    if total_s < GOOD_SECONDS:
        warnings.append(
            f"{total_s:.0f} s of one face are enough to begin with; a minute, with all that the "
            "face does in a call, is better"
        )
    footage = Footage(learned, judged, total_s, judged_s, dropped_s, warnings, detector)
    table = {"key": key, **asdict(footage)}
    table |= {"learned": [p.name for p in learned], "judged": [p.name for p in judged]}
    (folder / _INDEX).write_text(json.dumps(table))
    return footage


def forget(folder: Path) -> None:
    """Delete the takes in `folder`; the sheet stays."""
    shutil.rmtree(folder / _TAKES, ignore_errors=True)
    (folder / _INDEX).unlink(missing_ok=True)


def _look(number: int, video: Path, finder: FaceFinder, tell: Callable[[str], None]) -> _Seen:
    info = media.probe(video)
    step = max(math.ceil(info.fps / _MAX_FPS), 1)
    looker = Looker(finder)
    looks: list[Look] = []
    end_s, count, warning = 0.0, 0, None
    try:
        for timed in media.read_frames(video):
            if count % step == 0:
                looker.skim(timed.frame)
                if not looks or timed.time_s - looks[-1].time_s >= 1 / LOOKS_PER_S - 1e-6:
                    looks.append(looker.look(timed.frame, timed.time_s))
            end_s, count = timed.time_s + 1 / float(info.fps), count + 1
    except DamagedMediaError as error:
        if not looks:
            raise
        warning = str(error)
    if count < 2:
        raise MediaError(f"{video}: is a photo; film yourself talking for a minute")
    try:
        found = select(looks, end_s, info.width, info.height, number)
    except MediaError as error:
        raise MediaError(f"{video}: {error}") from error
    good_s = sum(take.seconds for take in found.takes)
    lost = "".join(f"; {why} {s:.1f} s" for why, s in sorted(found.dropped_s.items()))
    tell(f"{video.name}: {good_s:.1f} of {end_s:.1f} s can be used{lost}")
    dropped_s = {str(why): seconds for why, seconds in found.dropped_s.items()}
    return _Seen(video, info.fps, step, found.takes, dropped_s, _examples(looks), warning)


def _examples(looks: list[Look]) -> dict[float, str]:
    times: dict[str, list[float]] = {}
    for look, reason in zip(looks, flaws(looks), strict=True):
        if reason is not None:
            times.setdefault(reason, []).append(look.time_s)
    return {at: why for why, all_of in times.items() for at in all_of[:_EXAMPLES]}


def _cut(
    seen: list[_Seen], takes: list[Take], folder: Path
) -> tuple[list[Path], list[Path], list[Tile]]:
    """Write every take; those to judge by may be the end of one to learn from."""
    learned, judged = split(takes)
    paths = {take: folder / f"{number:03}-learn.mkv" for number, take in enumerate(learned)}
    paths |= {take: folder / f"{number:03}-judge.mkv" for number, take in enumerate(judged)}
    tiles: list[Tile] = []
    for number, one in enumerate(seen):
        mine = {take: path for take, path in paths.items() if take.video == number}
        tiles += _cut_video(one, mine, set(judged))
    return [paths[take] for take in learned], [paths[take] for take in judged], tiles


def _cut_video(one: _Seen, paths: dict[Take, Path], judged: set[Take]) -> Iterator[Tile]:
    """Write the takes of one video, in the order of its frames, and yield tiles for the sheet."""
    waiting = sorted(paths, key=lambda take: take.start_s)
    writer: MovieWriter | None = None
    try:
        for frame, time_s in _frames(one, max([take.end_s for take in waiting], default=0.0)):
            if time_s in one.flawed:
                yield Tile(resize(crop_square(frame), _TILE_PX), one.flawed[time_s], "dropped")
            while waiting and time_s >= waiting[0].end_s - 1e-9:
                waiting.pop(0)
                if writer is not None:
                    writer.close()
                writer = None
            if not waiting or time_s < waiting[0].start_s - 1e-9:
                continue
            take = waiting[0]
            square = frame[take.top : take.top + take.side, take.left : take.left + take.side]
            picture = resize(np.ascontiguousarray(square), min(take.side, _TAKE_PX))
            if writer is None:
                writer = MovieWriter(paths[take], picture.shape[0], one.fps / one.step)
                kind: Kind = "judged" if take in judged else "learned"
                yield Tile(resize(picture, _TILE_PX), f"{take.seconds:.0f} s", kind)
            writer.write(picture, time_s - take.start_s)
    finally:
        if writer is not None:
            writer.close()


def _frames(one: _Seen, end_s: float) -> Iterator[tuple[Frame, float]]:
    """The frames that are used, with their times; a break at the end was told of before."""
    try:
        for index, timed in enumerate(media.read_frames(one.path)):
            if timed.time_s > end_s:
                return
            if index % one.step == 0:
                yield timed.frame, timed.time_s
    except DamagedMediaError:
        return


def _too_little(videos: Sequence[Path], total_s: float, dropped_s: Mapping[str, float]) -> str:
    """What is wrong with videos of which too little is left, and what to do."""
    named = str(videos[0]) if len(videos) == 1 else f"{len(videos)} videos"
    most = max(dropped_s, key=dropped_s.__getitem__, default=None)
    length_s = total_s + sum(dropped_s.values())
    if most is None or length_s < MIN_SECONDS:
        return (
            f"{named}: {length_s:.1f} s are too short; at least {MIN_SECONDS:g} s are needed, and "
            "a minute is good"
        )
    return (
        f"{named}: only {total_s:.1f} s can be used, {MIN_SECONDS:g} are needed; mostly "
        f"{_ADVICE[most]}"
    )


def _key(videos: Sequence[Path], most_s: float, detector: DetectorName) -> list[object]:
    """What takes depend on; changes with the files."""
    stats = [(str(video.resolve()), video.stat()) for video in videos if video.exists()]
    of_files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return [most_s, of_files, *named(detector)]


def _known(folder: Path, key: list[object]) -> Footage | None:
    """What was prepared in `folder` before, of the same files; None where it is not all there."""
    try:
        table = json.loads((folder / _INDEX).read_text())
        if table.pop("key") != key:
            return None
        for kind in ("learned", "judged"):
            table[kind] = [folder / _TAKES / Path(name).name for name in table[kind]]
        footage = Footage(**table)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(path.is_file() for path in (*footage.learned, *footage.judged))
    return footage if whole else None


def check_space(videos: Sequence[Path], folder: Path, most_s: float) -> None:
    """Say before, not in the middle, that the disk is too small. Raises MediaError."""
    seconds = sum(media.probe(video).duration_s or 0.0 for video in videos)
    needed = int(min(seconds, most_s) * _MEGABYTES_A_SECOND * 1e6)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MediaError(
            f"{folder}: the disk has {free // 1_000_000} MB left, {needed // 1_000_000} are needed "
            "while it trains; make room, or use less with --seconds"
        )
