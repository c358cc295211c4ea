"""A clip as training sees it: the settings it was played with, and what came out."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gemino.config import FOVEA_GRID, FOVEA_RADII, Fovea, Rung
from gemino.frames import Frame, crop_square, resize

ACTIVITY_PX = 64
REFERENCE_BUDGETS = (7_000, 20_000)
_NO_FACE = Fovea(16, 16, 7)  # where one would be: the middle


@dataclass(frozen=True, slots=True)
class View:
    """One way of looking at a clip: a centred zoom-in, shifted, and a gain per colour.

    zoom: side of the crop over the clip's, 0.5..1. shift_x, shift_y: -1..1 of the room left.
    gains: multiply R, G and B.
    """

    zoom: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def apply(self, frame: Frame, size_px: int) -> Frame:
        """`frame` [H, W, 3] seen this way, [size_px, size_px, 3]."""
        square = crop_square(frame)
        side = square.shape[0]
        inner = max(int(side * self.zoom), 16)
        room = (side - inner) / 2
        left, top = round(room * (1 + self.shift_x)), round(room * (1 + self.shift_y))
        picture = resize(square[top : top + inner, left : left + inner], size_px)
        if self.gains == (1.0, 1.0, 1.0):
            return picture
        return np.asarray(np.clip(picture * np.array(self.gains, np.float32), 0, 255), np.uint8)


@dataclass(frozen=True, slots=True)
class SequenceSettings:
    """What decides the contents of a cached sequence.

    foveated: rungs that get the clip's own fovea, around its face, moved by fovea_shift (x, y and
    radius in 1/32 of the picture).
    """

    output_px: int
    rungs: tuple[Rung, ...]
    foveated: tuple[Rung, ...] = ()
    fovea_shift: tuple[int, int, int] = (0, 0, 0)
    view: View = View()
    references: int = 4
    reference_bytes: tuple[int, ...] = REFERENCE_BUDGETS

    def all_rungs(self, face: Fovea | None) -> tuple[Rung, ...]:
        """All rungs of a sequence, in the order that they are kept in. face: the clip's fovea."""
        place = face or _NO_FACE
        x, y = (
            min(max(at + shift, 0), FOVEA_GRID)
            for at, shift in zip((place.x, place.y), self.fovea_shift[:2], strict=True)
        )
        radius = min(max(place.radius + self.fovea_shift[2], FOVEA_RADII[0]), FOVEA_RADII[1])
        foveated = (replace(rung, fovea=Fovea(x, y, radius)) for rung in self.foveated)
        return (*self.rungs, *foveated)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A cached sequence; arrays are memory-mapped.

    frames uint8 [N, S, S, 3]. lr[rung] = (pictures uint8 [N, s, s, 3], levels float32 [N]): the
    decoded LR stream, not straightened, and its log2 bits per pixel. references uint8
    [R, S, S, 3]. activity float32 [64, 64], sums to 1: where the clip moves. face: the fovea
    around the first pictures' face; None without one. sharpness: mean gradient, 0..255.
    kbps[rung]: the stream's real rate.
    """

    name: str
    frames: NDArray[np.uint8]
    lr: dict[Rung, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    references: NDArray[np.uint8]
    activity: NDArray[np.float32]
    face: Fovea | None
    sharpness: float
    kbps: dict[Rung, float]
