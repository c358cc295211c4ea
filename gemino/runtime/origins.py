"""Where the detail of a drawn picture comes from: carried over from a reference, or made up.

A picture is the enlarged LR picture, plus what the gates let through of the reference's warped
high-frequency band, plus a residual that convolutions draw (`nn.generator`). The last two, in
levels of brightness and averaged over cells of the picture, say how much of each is seen where.
(The residual is drawn from features that saw the reference, too; what is counted as carried over is
what was copied.)
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.runtime.fullscale import Plane

Origins = NDArray[np.uint8]
"""[CELLS, CELLS, 2]: mean levels, 0..255, carried over from the reference and drawn by the network.
"""

CELLS = 64


def origins(band: Plane, blocks: Plane) -> Origins:
    """From what `fullscale.compose` puts together of the same picture.

    band: [S, S, 3], what was carried over. blocks: [S/4, S/4, 48], the residual, both in 0..255.
    """
    cells = (CELLS, CELLS)
    carried = cv2.resize(np.abs(band).mean(axis=2), cells, interpolation=cv2.INTER_AREA)
    drawn = cv2.resize(np.abs(blocks).mean(axis=2), cells, interpolation=cv2.INTER_AREA)
    return np.clip(np.stack([carried, drawn], axis=-1) + 0.5, 0, 255).astype(np.uint8)
