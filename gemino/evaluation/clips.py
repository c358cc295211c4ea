"""The clips that codecs are compared on, in memory and in the form that codecs take."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from gemino.errors import MediaError
from gemino.frames import Frame, prepare, to_video_frame
from gemino.media import ClipInfo, DamagedMediaError, probe, read_frames

CLIP_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
MAX_SECONDS = 30.0
"""Half a gigabyte of 4:2:0 pictures at 512 px and 30 fps; what is longer is cut here."""
PLAY_S = 40.0
"""A clip is played forth and back for so long before it counts: start-up must not decide."""


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """A clip at one size, and how it is played.

    size_px: side of the square. fps: the clip's average rate. pictures: every frame as yuv420p,
    which is what every codec compared here takes. originals: the RGB frames [S, S, 3] that
    quality is measured on, every `every`-th, by their *place* in `pictures`. order: the place of
    the frame that is coded at each *position* of the play.
    """

    name: str
    size_px: int
    fps: Fraction
    every: int
    pictures: list[av.VideoFrame] = field(repr=False)
    originals: dict[int, Frame] = field(repr=False)
    order: Sequence[int] = field(repr=False)

    @property
    def seconds(self) -> float:
        """Length of the clip, played once."""
        return len(self.pictures) / float(self.fps)

    @property
    def settled(self) -> int:
        """The position where the last pass begins, which quality and rate are measured in."""
        return len(self.order) - len(self.pictures)

    @property
    def measured(self) -> dict[int, int]:
        """Positions in the last pass by the places of `originals`, in the order played."""
        last = range(self.settled, len(self.order))
        return {self.order[at]: at for at in last if self.order[at] in self.originals}

    def picture(self, position: int) -> av.VideoFrame:
        """What a codec is given at `position`, stamped in a time base of one frame."""
        picture = self.pictures[self.order[position]]
        picture.pts, picture.time_base = position, 1 / self.fps
        return picture


def playing_order(count: int, seconds: float, play_s: float) -> list[int]:
    """Places of `count` frames, forth and back and forth, until `play_s` have gone by.

    seconds: of the clip. The ends are not repeated. A clip of any length is played at least
    twice, so that the last pass holds no start-up; once only where `play_s` is 0.
    """
    forth = list(range(count))
    if count < 2 or play_s <= 0:
        return forth
    passes = max(2, math.ceil(play_s / seconds))
    order = list(forth)
    for number in range(1, passes):
        order += forth[-2::-1] if number % 2 else forth[1:]
    return order


def expected_frames(info: ClipInfo, max_seconds: float = MAX_SECONDS) -> int:
    """How many frames `load` will find, as far as the clip says."""
    most = max(1, round(max_seconds * info.fps))
    stated = info.frames or round((info.duration_s or max_seconds) * info.fps)
    return min(max(stated, 1), most)


def load(
    path: Path,
    size_px: int,
    every: int,
    *,
    name: str | None = None,
    max_seconds: float = MAX_SECONDS,
    play_s: float = PLAY_S,
) -> Footage:
    """Read the first `max_seconds` of a clip; keep every `every`-th original, not the first.

    name: the file's without suffix, unless given. A clip that breaks off is measured up to there.
    Frames of a variable rate are taken as they come, at the average rate.
    Raises MediaError where there is no frame.
    """
    info = probe(path)
    most = max(1, round(max_seconds * info.fps))
    pictures: list[av.VideoFrame] = []
    originals: dict[int, Frame] = {}
    try:
        for timed in read_frames(path):
            frame = prepare(timed.frame, size_px)
            # The middle of each step: a first frame is never typical of a stream.
            if len(pictures) % every == every // 2:
                originals[len(pictures)] = frame
            last = frame
            pictures.append(to_video_frame(frame))
            if len(pictures) == most:
                break
    except DamagedMediaError:
        if not pictures:
            raise
    if not originals:  # shorter than half a step
        originals[len(pictures) - 1] = last
    order = playing_order(len(pictures), len(pictures) / float(info.fps), play_s)
    return Footage(name or path.stem, size_px, info.fps, every, pictures, originals, order)


def find(paths: Iterable[Path]) -> list[Path]:
    """The clips among files and folders; a folder stands for the clips in it, sorted by name.

    Raises MediaError for a path that is missing and for a folder without a clip.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in CLIP_SUFFIXES)
            if not inside:
                raise MediaError(f"{path} holds no clip ({', '.join(CLIP_SUFFIXES)})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise MediaError(f"{path}: no such file or folder")
    return found


def names(clips: Sequence[Path]) -> list[str]:
    """A name for each clip: its file's, numbered where two are alike."""
    chosen: list[str] = []
    for clip in clips:
        same = sum(1 for other in clips[: len(chosen)] if other.stem == clip.stem)
        chosen.append(f"{clip.stem}-{same + 1}" if same else clip.stem)
    return chosen
