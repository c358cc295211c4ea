"""Videos of people for the tests of personalization, made from the shipped samples in a moment."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from gemino import media
from gemino.frames import Frame, prepare
from training_clips import ADDRESS, WEBCAM

FPS = 25
Shot = Callable[[Frame, int], Frame]


def people(source: Path = ADDRESS, size_px: int = 192, count: int = 135) -> Iterator[Frame]:
    for timed in islice(media.read_frames(source), count):
        yield prepare(timed.frame, size_px)


def write(path: Path, frames: Iterator[Frame], rotation: int = 0) -> Path:
    """`frames` as .mp4; rotation: what a phone held otherwise says, in degrees."""
    first = next(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.time_base = Fraction(1, FPS)
        if rotation:
            stream.set_display_rotation(rotation)
        for at, frame in enumerate([first, *frames]):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = at, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def talk(path: Path, shot: Shot | None = None, count: int = 135) -> Path:
    """Somebody who talks, each frame as `shot` of it and its number."""
    frames = enumerate(people(count=count))
    return write(path, (frame if shot is None else shot(frame, at) for at, frame in frames))


def beside(path: Path, count: int = 135) -> Path:
    """Two people side by side."""
    both = zip(people(ADDRESS, count=count), people(WEBCAM, count=count), strict=False)
    return write(path, (np.hstack(pair) for pair in both))


def wide(frame: Frame, at: int) -> Frame:
    """A room around a person on its left, as a webcam of 16:9 sees it."""
    room = np.full((frame.shape[0], frame.shape[0] * 16 // 9, 3), (70, 90, 110), np.uint8)
    room[:, : frame.shape[1]] = frame
    room[at % 50, -40:] = 200  # something moves there
    return room
