"""An LR picture at the sizes at which the network looks at it, without torch.

The exact counterpart of `nn.blocks.resize`: a network meets no downsampling that it was not
trained on, whichever runtime it runs in.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.runtime.fullscale import Plane


def view(picture: Plane, size_px: int) -> Plane:
    """`picture` [s, s, 3] at [size_px, size_px, 3]: area averaging when shrinking, else bilinear.

    Where the sides do not divide, windows of whole pixels overlap, as in torch's adaptive pooling;
    OpenCV would weight their rims instead.
    """
    side = picture.shape[0]
    if side == size_px:
        return picture
    if side < size_px or not side % size_px:
        how = cv2.INTER_LINEAR if side < size_px else cv2.INTER_AREA
        return np.asarray(cv2.resize(picture, (size_px, size_px), interpolation=how), np.float32)
    windows = _windows(side, size_px)
    rows = (windows @ picture.reshape(side, -1)).reshape(size_px, side, 3)
    return np.ascontiguousarray(windows @ rows, np.float32)


@lru_cache(maxsize=16)
def _windows(side: int, size_px: int) -> NDArray[np.float32]:
    """Weights [size_px, side] of each pixel of a line in each of the smaller one."""
    at = np.arange(size_px)
    first = (at * side // size_px)[:, None]
    end = -(-(at + 1) * side // size_px)[:, None]
    pixel = np.arange(side)
    inside = (pixel >= first) & (pixel < end)
    return np.asarray(inside / (end - first), np.float32)
