"""The LR picture halfway between two that were sent (motion-compensated frame interpolation).

Below 30 kbps every second picture is worth more with twice the bits than all of them are, and
its packet spares a header (docs/interpolation.md). The receiver makes those between from their two
neighbours: it follows the motion half the way from each, and takes the mean. That is done on the
small pictures, where it is cheap; the network then draws each as if it had come.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.frames import Frame, resize

_FLOW_PX = 256
"""Where motion is estimated: finer than most LR pictures, so that half a pixel of them counts."""
_UNLIKE = 24.0
"""Levels, on average, by which two pictures of one scene hardly ever differ along the motion."""


def halfway(before: Frame, after: Frame) -> Frame | None:
    """What lies between two pictures of one size, uint8 [s, s, 3]; None across a cut.

    Motion is estimated once, by dense inverse search (Kroeger et al., ECCV 2016), and taken to be
    even in between.
    """
    side = before.shape[0]
    work_px = max(side, _FLOW_PX)
    first, second = resize(before, work_px), resize(after, work_px)
    motion = _motion(first, second) * np.float32(work_px / _FLOW_PX)
    grid, half = _grid(work_px), 0.5 * _enlarged(motion, work_px)
    forward, backward = _sample(first, grid - half), _sample(second, grid + half)
    if cv2.norm(forward, backward, cv2.NORM_L1) > _UNLIKE * forward.size:
        return None
    mean = cv2.addWeighted(forward, 0.5, backward, 0.5, 0.0)
    return resize(np.asarray(mean, np.uint8), side)


def _enlarged(field: NDArray[np.float32], size_px: int) -> NDArray[np.float32]:
    """A field of vectors [s, s, 2] at [size_px, size_px, 2]; their lengths are left as they are."""
    if field.shape[0] == size_px:
        return field
    return np.asarray(cv2.resize(field, (size_px, size_px)), np.float32)


def _motion(first: Frame, second: Frame) -> NDArray[np.float32]:
    """Where each pixel of `first`, shrunk, has gone in `second`: (across, down) in those pixels."""
    search = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_FAST)
    grey = [cv2.cvtColor(resize(one, _FLOW_PX), cv2.COLOR_RGB2GRAY) for one in (first, second)]
    return np.asarray(search.calc(grey[0], grey[1], None), np.float32)  # type: ignore[call-overload]


def _sample(picture: Frame, places: NDArray[np.float32]) -> Frame:
    found = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(found, np.uint8)


@lru_cache(maxsize=4)
def _grid(side: int) -> NDArray[np.float32]:
    """The place of each pixel: [side, side, (across, down)]."""
    down, across = np.mgrid[0:side, 0:side].astype(np.float32)
    return np.dstack([across, down])
