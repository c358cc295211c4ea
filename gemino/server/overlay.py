"""Where a picture's detail comes from, laid over it in colours.

Grey is what came in the small stream. Over it lies one colour where detail was carried over from a
sharp picture, another where the network made it up, a mixture of the two where both did; stronger,
where there is more of it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.frames import Frame
from gemino.runtime.origins import Origins

CARRIED, DRAWN = (38, 208, 180), (255, 150, 40)
"""RGB; web/style.css has the same two in its legend."""
_COLOURS = np.array([CARRIED, DRAWN], np.float32)
_FULL_LEVELS = 14.0
"""So much detail, in levels of 255, is shown in full colour."""
_MOST_COLOUR, _DIM = 0.72, 0.8


def shares(origins: Origins) -> tuple[float, float]:
    """Of all detail, what was carried over and what was drawn, 0..1."""
    carried, drawn = (float(levels) for levels in origins.sum(axis=(0, 1), dtype=np.float64))
    total = carried + drawn
    return (carried / total, drawn / total) if total else (0.0, 0.0)


def tint(frame: Frame, origins: Origins) -> Frame:
    """`frame` [S, S, 3] in grey, with the colours of `origins` over it."""
    size = frame.shape[1], frame.shape[0]
    levels = origins.astype(np.float32)
    total = levels.sum(axis=2, keepdims=True)
    mixed = levels / np.maximum(total, 1)
    colours = mixed @ _COLOURS
    alpha = np.minimum(total / _FULL_LEVELS, 1) * _MOST_COLOUR
    over, rest = (_enlarged(layer, size) for layer in (colours * alpha, (1 - alpha) * _DIM * 255))
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    below = cv2.multiply(grey, cv2.merge([rest] * 3), scale=1 / 255)
    return np.asarray(cv2.add(below, over), np.uint8)


def _enlarged(layer: NDArray[np.float32], size: tuple[int, int]) -> Frame:
    return np.asarray(cv2.resize(layer.astype(np.uint8), size, interpolation=cv2.INTER_LINEAR))
