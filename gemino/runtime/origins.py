"""Where the detail of a drawn picture comes from: carried over from a reference, or made up.

A picture is the enlarged LR picture, plus what the gates let through of the reference's warped
high-frequency band, plus a residual that convolutions draw (`nn.generator`). How much the last two
vary within a cell of the picture says how much detail there is of each; the residual's mean is no
detail, but puts the LR picture's colours right. (The residual is drawn from features that saw the
reference, too; what counts as carried over is what was copied.)
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.runtime.fullscale import Plane

Origins = NDArray[np.uint8]
"""[CELLS, CELLS, 2]: detail carried over from the reference, and drawn by the network.

Each is the standard deviation of what was added, in levels of brightness, over colours the mean.
"""

CELLS = 64
_BLOCK = 4


def origins(band: Plane, blocks: Plane) -> Origins:
    """From what `fullscale.compose` puts together of the same picture.

    band: [S, S, 3], what was carried over. blocks: [S/4, S/4, 48], the residual, both in 0..255.
    """
    cells = blocks.reshape(*blocks.shape[:2], _BLOCK * _BLOCK, 3)
    drawn = _deviation(cells.mean(axis=2), np.square(cells).mean(axis=2))
    layers = [_deviation(band, np.square(band)), drawn]
    return np.asarray(np.clip(np.stack(layers, axis=-1) + 0.5, 0, 255), np.uint8)


def _deviation(values: Plane, squares: Plane) -> Plane:
    """The standard deviation within each cell, [CELLS, CELLS], from [S, S, 3] each."""
    mean, of_squares = (
        cv2.resize(each, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for each in (values, squares)
    )
    return np.asarray(np.sqrt(np.maximum(of_squares - mean * mean, 0)).mean(axis=2), np.float32)
