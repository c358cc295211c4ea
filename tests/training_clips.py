"""Clips for the tests of training, small and made in a moment."""

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from gemino import media
from gemino.config import Rung
from gemino.frames import Frame, prepare

SAMPLES = Path(__file__).parent.parent / "samples"
ADDRESS, WEBCAM = SAMPLES / "address.mp4", SAMPLES / "webcam.mp4"
SIDE = 128
RUNGS = (Rung("vp8", 64, 8.0), Rung("av1", 128, 12.0))


def write_talk(path: Path, count: int = 24, sources: tuple[Path, ...] = (ADDRESS,)) -> Path:
    """The first `count` frames of each of `sources`, one after the other, small."""
    with media.MovieWriter(path, SIDE, Fraction(25)) as movie:
        for part, source in enumerate(sources):
            for at, timed in enumerate(islice(media.read_frames(source), count)):
                movie.write(prepare(timed.frame, SIDE), (part * count + at) / 25)
    return path


def write_still(path: Path, frame: Frame, count: int = 24) -> Path:
    """`frame` again and again."""
    with media.MovieWriter(path, SIDE, Fraction(25)) as movie:
        for at in range(count):
            movie.write(prepare(frame, SIDE), at / 25)
    return path


def portrait(at: int) -> Frame:
    """A tall picture, uint8 [160, 96, 3], dark to light and unlike its mirror image; it moves."""
    picture = np.empty((160, 96, 3), np.uint8)
    picture[:] = np.linspace(5, 250, 160).astype(np.uint8)[:, None, None]
    picture[60:100, 10:40] = (200, 60, 40)
    picture[60 + at % 24 : 90 + at % 24, 60:80] = (30, 70, 180)
    return picture


def write_portrait(path: Path, kind: str, count: int = 24) -> Path:
    """`portrait` as a file of one `kind`: rotated (lying, with a display matrix), variable (each
    frame lasts as it likes), ten-bit, full-range."""
    codec, form = {
        "rotated": ("mpeg4", "yuv420p"),
        "variable": ("ffv1", "yuv420p"),
        "ten-bit": ("ffv1", "yuv420p10le"),
        "full-range": ("mjpeg", "yuvj420p"),
    }[kind]
    lengths = np.random.default_rng(1).integers(20, 90, count) if kind == "variable" else [40]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        first = portrait(0)
        if kind == "rotated":
            first = np.rot90(first)
            stream.set_display_rotation(-90)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.bit_rate = form, 20_000_000
        base = Fraction(1, 1000) if kind == "variable" else Fraction(1, 25)
        stream.codec_context.time_base = base
        pts = 0
        for at in range(count):
            shown = np.rot90(portrait(at)) if kind == "rotated" else portrait(at)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            picture = picture.reformat(
                format=form,
                dst_colorspace=Colorspace.ITU601,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.JPEG if kind == "full-range" else ColorRange.MPEG,
            )
            picture.pts, picture.time_base = pts, base
            pts += int(lengths[at]) if kind == "variable" else 1
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
