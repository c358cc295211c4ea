"""What a video shows, a few times a second: whose face, how large, how sharp, how bright."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from gemino.faces import FaceBox, FaceFinder
from gemino.frames import Frame, crop_square
from gemino.likeness import SCENE_CHANGE, Thumbnail, difference, thumbnail

Flaw = Literal[
    "no face", "several faces", "small face", "dark", "blurred", "drawn", "cut", "restless"
]
"""Why a moment is of no use. restless: too short between two others that are not."""

LOOKS_PER_S = 5.0
MIN_FACE_PX = 64
_SEEN_PX = 512
_FACE_PX = 128
_DARK = 40.0
_SOFT = 1.5
_BLURRED = 0.45
"""Of the video's own median: a hand-held swing, a camera that hunts for focus."""
_DRAWN = 0.6
"""Of a face without any shade: skin has 0.14 to 0.46 (37 people), what is drawn has 0.8."""
_BYSTANDER = 0.4  # of the side of the first face; smaller ones are pictures on a wall


@dataclass(frozen=True, slots=True)
class Look:
    """One moment of a video.

    time_s: since its start. x, y, side: the square around the face, pixels of the frame; all 0
    without one. faces: how many of like size. sharpness: mean absolute Laplacian of the face at
    128 px. flat: share of it without any. brightness: its mean, 0..255. change: mean absolute
    difference of the face to that of the look before, 0..255. cut: whether one came since then.
    """

    time_s: float
    x: float = 0.0
    y: float = 0.0
    side: float = 0.0
    faces: int = 0
    sharpness: float = 0.0
    flat: float = 0.0
    brightness: float = 0.0
    change: float = 0.0
    cut: bool = False


class Looker:
    """Looks at one video; `skim` at every frame, `look` at some."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._previous: Thumbnail | None = None
        self._face: Frame | None = None
        self._cut = False

    def skim(self, frame: Frame) -> None:
        """Notice a cut between `frame` [H, W, 3] and the one before."""
        seen = thumbnail(crop_square(frame))
        if self._previous is not None and difference(seen, self._previous) > SCENE_CHANGE:
            self._cut = True
        self._previous = seen

    def look(self, frame: Frame, time_s: float) -> Look:
        """What `frame` [H, W, 3] shows."""
        cut, self._cut = self._cut, False
        boxes = find_faces(self._finder, frame)
        if not boxes:
            self._face = None
            return Look(time_s, cut=cut)
        box = boxes[0]
        x, y = box.centre
        face = _cut_out(frame, float(x), float(y), box.side)
        grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
        former, self._face = self._face, face
        moved = 0.0 if former is None else float(np.abs(face.astype(float) - former).mean())
        return Look(
            time_s,
            float(x),
            float(y),
            box.side,
            sum(other.side >= _BYSTANDER * box.side for other in boxes),
            float(edges.mean()),
            float((edges <= 1).mean()),
            float(grey.mean()),
            moved,
            cut,
        )


def find_faces(finder: FaceFinder, frame: Frame) -> list[FaceBox]:
    """All faces in `frame` [H, W, 3] of any shape, the one to go by first, in its pixels."""
    height, width = frame.shape[:2]
    scale = _SEEN_PX / max(height, width)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    square = np.zeros((_SEEN_PX, _SEEN_PX, 3), np.uint8)
    square[: inner[1], : inner[0]] = cv2.resize(frame, inner, interpolation=cv2.INTER_AREA)
    return [
        FaceBox(box.centre / scale, box.side / scale, box.eyes / scale)
        for box in finder.find_all(square)
    ]


def flaws(looks: list[Look]) -> list[Flaw | None]:
    """What is wrong with each look; None for those of use."""
    seen = [look.sharpness for look in looks if look.faces == 1]
    least = max(_BLURRED * float(np.median(seen)) if seen else 0.0, _SOFT)
    return [_flaw(look, least) for look in looks]


def _flaw(look: Look, least_sharpness: float) -> Flaw | None:
    if not look.faces:
        return "no face"
    if look.faces > 1:
        return "several faces"
    if look.side < MIN_FACE_PX:
        return "small face"
    if look.brightness < _DARK:
        return "dark"
    if look.sharpness < least_sharpness:
        return "blurred"
    if look.flat > _DRAWN:
        return "drawn"
    return "cut" if look.cut else None


def _cut_out(frame: Frame, x: float, y: float, side: float) -> Frame:
    """The square around (x, y), uint8 [128, 128, 3]; beyond the rim the rim repeats."""
    scale = _FACE_PX / side
    middle = (_FACE_PX - 1) / 2
    matrix = np.array([[scale, 0, middle - scale * x], [0, scale, middle - scale * y]])
    small = frame
    if side > 2 * _FACE_PX:  # warping alone would skip pixels, and the skipped ones shimmer
        shrink = 2 * _FACE_PX / side
        size = (max(round(frame.shape[1] * shrink), 1), max(round(frame.shape[0] * shrink), 1))
        small = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix[:, :2] /= shrink
    cut = cv2.warpAffine(
        small, matrix, (_FACE_PX, _FACE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.uint8)
