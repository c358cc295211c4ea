"""The clips that codecs are compared on, in memory and in the form that codecs take."""

from collections.abc import Iterable
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


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """A clip at one size.

    size_px: side of the square. fps: the clip's average rate. pictures: every frame as yuv420p,
    which is what every codec compared here takes. originals: the RGB frames [S, S, 3] that
    quality is measured on, every `every`-th, by their place in `pictures`.
    """

    name: str
    size_px: int
    fps: Fraction
    every: int
    pictures: list[av.VideoFrame] = field(repr=False)
    originals: dict[int, Frame] = field(repr=False)

    @property
    def seconds(self) -> float:
        return len(self.pictures) / float(self.fps)


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
) -> Footage:
    """Read the first `max_seconds` of a clip; keep every `every`-th original, not the first.

    name: the file's without suffix, unless given. A clip that breaks off is measured up to there.
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
    return Footage(name or path.stem, size_px, info.fps, every, pictures, originals)


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
