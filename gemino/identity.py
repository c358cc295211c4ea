"""Whether the face in an LR stream is the one that an adapter was made for.

A face is turned upright by its eyes, and what is kept of it are histograms of gradients in 4 x 4
cells (Dalal and Triggs, 2005): no picture, and indifferent to light. An adapter holds a few of
them, of its owner in several poses; a live face is as alike as to the likest of those.

Measured on LR streams of 128 px and 8.5 kbps (AV1), medians of eleven looks: six clips of the five
people of adapters, one on another day and in other clothes, 0.773 to 0.911; 267 pairs of an adapter
and somebody else 0.697 at most (docs/personalization.md). It tells whose adapter fits, and is no
proof of who somebody is: whoever wants to be taken for another can.
"""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.faces import FaceDetector, shipped
from gemino.frames import Frame, resize

SAME_PERSON = 0.74
FEATURES = 128
MAX_KEPT = 16
_SIDE, _CELLS, _BINS = 32, 4, 8
_SEEN_PX = 256
_MARGIN = 1.35
_FIRST, _LATER = 3, 30  # every so many pictures one is looked at: until it is clear, and then
_LEAST, _MOST = 3, 7  # looks that a verdict needs, and that count

Features = NDArray[np.float32]


def describe(detector: FaceDetector, picture: Frame) -> Features | None:
    """The clearest face of `picture` [S, S, 3] as a vector [128] of length 1; None without one."""
    seen = resize(picture, _SEEN_PX)
    box = detector.find(seen)
    if box is None or box.side < _SIDE:
        return None
    x, y = float(box.centre[0]), float(box.centre[1])
    scale = _SIDE / (box.side * _MARGIN)
    turn = float(np.degrees(np.arctan2(box.eyes[1], box.eyes[0])))
    matrix = cv2.getRotationMatrix2D((x, y), turn, scale)
    matrix[:, 2] = matrix[:, 2] + _SIDE / 2 - np.array([x, y])
    smooth = cv2.GaussianBlur(seen, (0, 0), 0.5 / scale) if scale < 1 else seen
    face = cv2.warpAffine(smooth, matrix, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return _histograms(np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8), np.float32))


def _histograms(grey: NDArray[np.float32]) -> Features:
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    size = np.hypot(across, down)
    angle = (np.arctan2(down, across) + np.pi) / (2 * np.pi)
    bins = (angle * _BINS).astype(int) % _BINS
    cell = np.arange(_SIDE) * _CELLS // _SIDE
    place = (cell[:, None] * _CELLS + cell[None]) * _BINS + bins
    counts = np.bincount(place.ravel(), size.ravel(), FEATURES)
    values = np.sqrt(counts / max(float(counts.sum()), 1e-6))
    values -= values.mean()
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), np.float32)


def choose(seen: list[Features]) -> NDArray[np.float16]:
    """Up to 16 of `seen`, spread over them: what an adapter keeps of its owner, [n, 128]."""
    places = np.linspace(0, len(seen) - 1, min(len(seen), MAX_KEPT)).round().astype(int)
    return np.stack([seen[at] for at in places]).astype(np.float16)


class Watcher:
    """Looks now and then at the pictures of an LR stream, and says whether it is the person.

    verdict: None while that is not clear. One that stands stays where no face is seen.
    """

    def __init__(self, kept: NDArray[np.floating]) -> None:
        self._kept = kept.astype(np.float32)
        self._detector = shipped()
        self.forget()

    def forget(self) -> None:
        """Somebody else may come now."""
        self._alike: deque[float] = deque(maxlen=_MOST)
        self._count = 0
        self.verdict: bool | None = None

    @property
    def alike(self) -> float:
        """-1..1: the median of the last looks; 0 without any."""
        return float(np.median(self._alike)) if self._alike else 0.0

    def watch(self, lr: Frame) -> None:
        """Every LR picture [s, s, 3] in order, straightened."""
        every = _FIRST if self.verdict is None else _LATER
        self._count += 1
        if (self._count - 1) % every:
            return
        seen = describe(self._detector, lr)
        if seen is None:
            return
        self._alike.append(float((self._kept @ seen).max()))
        if len(self._alike) >= _LEAST:
            self.verdict = self.alike >= SAME_PERSON
