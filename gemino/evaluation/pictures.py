"""Pictures to look at: labelled panels side by side, and the face in them enlarged.

A mean hides what people see first, so eyes and mouths get a panel of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import cv2.data
import numpy as np

from gemino.errors import MediaError
from gemino.frames import Frame, resize

LABEL_PX = 32
_STACK_PX = 384
_BACKGROUND = 24
_INK = (235, 235, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CASCADE = "haarcascade_frontalface_default.xml"
_FACE_MARGIN = 0.15


class Box(NamedTuple):
    """A square part of a frame."""

    left: int
    top: int
    side: int

    def cut(self, frame: Frame) -> Frame:
        return frame[self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A picture, uint8 [S, S, 3], and what to write above it."""

    label: str
    frame: Frame


def row(panels: Sequence[Panel]) -> Frame:
    """Panels of one size side by side under their labels, uint8 [S + 32, S x count, 3]."""
    return np.hstack([np.vstack([_bar(p.label, p.frame.shape[1]), p.frame]) for p in panels])


def enlarged(panels: Sequence[Panel], box: Box) -> list[Panel]:
    """The same part of every panel at the size of the panel."""
    return [Panel(p.label, resize(box.cut(p.frame), p.frame.shape[0])) for p in panels]


def stacked(pictures: Sequence[Frame]) -> Frame:
    """Square pictures one below the other, each 384 px wide: [384 x count, 384, 3]."""
    return np.vstack([resize(picture, _STACK_PX) for picture in pictures])


def column(rows: Sequence[Frame]) -> Frame:
    """Rows one below the other; shorter ones are filled up on the right."""
    width = max(r.shape[1] for r in rows)
    return np.vstack(
        [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=24) for r in rows]
    )


def face_box(frame: Frame) -> Box:
    """Where the largest face in `frame` [S, S, 3] is; where none is found, the middle half."""
    side = frame.shape[0]
    detector = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / _CASCADE))
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    found = detector.detectMultiScale(grey, 1.1, 5, minSize=(side // 10, side // 10))
    if not len(found):
        return Box(side // 4, side // 4, side // 2)
    left, top, width, _ = max((tuple(map(int, face)) for face in found), key=lambda f: f[2])
    margin = round(width * _FACE_MARGIN)
    wanted = min(width + 2 * margin, side)
    return Box(
        min(max(left - margin, 0), side - wanted),
        min(max(top - margin, 0), side - wanted),
        wanted,
    )


def encode(frame: Frame, suffix: str = ".png") -> bytes:
    """`frame` as a .png or .jpg file's bytes."""
    done, data = cv2.imencode(suffix, np.ascontiguousarray(frame[:, :, ::-1]))
    if not done:
        raise MediaError(f"a picture of {frame.shape[1]}x{frame.shape[0]} px cannot be written")
    return bytes(data)


def read(path: Path) -> Frame:
    """The picture that `save` wrote; raises MediaError where there is none."""
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise MediaError(f"{path}: is no picture; evaluate again without --resume")
    return np.asarray(bgr[:, :, ::-1], np.uint8)


def save(path: Path, frame: Frame) -> None:
    """Write `frame` as a .png; raises MediaError where it cannot be written."""
    try:
        path.write_bytes(encode(frame))
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error


def _bar(label: str, width: int) -> Frame:
    """A strip [32, width, 3] with `label`, as large as fits."""
    bar = np.full((LABEL_PX, width, 3), _BACKGROUND, np.uint8)
    (natural, _), _ = cv2.getTextSize(label, _FONT, 1.0, 1)
    scale = min(0.6, (width - 12) / max(natural, 1))
    cv2.putText(bar, label, (6, LABEL_PX - 10), _FONT, scale, _INK, 1, cv2.LINE_AA)
    return bar
