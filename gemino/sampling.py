"""From a full picture to the LR picture that is coded, and back to an even one.

Without a *fovea* the LR picture is the full one, evenly shrunk. With one, rows and columns lie
closer together around a face: there the LR picture has 2.5 times the density of its rim, for the
same number of pixels and about the same bits. What it lacks at the rim, a background that hardly
moves, is what a reference replaces best; eyes and lips are what it replaces worst.

The mapping is separable, smooth and known to both sides: the density along an axis is
1 + 1.5 b(t), where t is the distance from the fovea's centre and b falls from 1 to 0 as
a smoothstep over 1/8 of the picture from the fovea's rim on. Each LR pixel is the mean of the
stripe of the full picture that it stands for. `straighten` interpolates that back onto an even
grid of twice the side, which resolves the fovea fully.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.config import FOVEA_GRID, Fovea, Sampling
from gemino.frames import Frame, resize

STRAIGHTENED = 2
"""An LR picture with a fovea is straightened to so many times its side."""
_DENSITY = 2.5
_FALL = 1 / 8
_STEPS = 2048
_MOST_PX = 512
"""Larger pictures are shrunk evenly to this first: that is quick, and no LR stripe is finer."""


def shrink(picture: Frame, sampling: Sampling) -> Frame:
    """The LR picture [s, s, 3] of `picture` [S, S, 3]."""
    if sampling.fovea is None:
        return resize(picture, sampling.size_px)
    if picture.shape[0] > _MOST_PX and sampling.size_px * _DENSITY <= _MOST_PX:
        picture = resize(picture, _MOST_PX)
    down, across = _edges(sampling.fovea, picture.shape[0], sampling.size_px)
    # The sum over a pixel's stripe is a difference of integrals, however wide the stripe is.
    sums = _between(_between(cv2.integral(picture), down, 0), across, 1)
    areas = np.diff(down)[:, None, None] * np.diff(across)[None, :, None]
    means = np.diff(np.diff(sums, axis=0), axis=1) / areas
    return np.asarray(means + 0.5, np.uint8)


def straighten(lr: Frame, fovea: Fovea | None) -> Frame:
    """An LR picture on an even grid: [2s, 2s, 3] from [s, s, 3] with a fovea, else as it is."""
    if fovea is None:
        return lr
    across, down = _places(fovea, lr.shape[0])
    even = cv2.remap(lr, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(even, np.uint8)


def glimpse(picture: Frame, sampling: Sampling) -> Frame:
    """What an LR picture of `picture` shows when nothing is lost in coding, straightened."""
    return straighten(shrink(picture, sampling), sampling.fovea)


def _travel(centre: int, radius: int) -> NDArray[np.float64]:
    """How much of the LR picture lies before each of 2,049 even places: rises from 0 to 1."""
    places = (np.arange(_STEPS) + 0.5) / _STEPS
    beyond = np.abs(places - centre / FOVEA_GRID) - radius / FOVEA_GRID
    near = np.clip(1 - beyond / _FALL, 0, 1)
    density = 1 + (_DENSITY - 1) * near**2 * (3 - 2 * near)
    travelled = np.concatenate([[0.0], np.cumsum(density)])
    return np.asarray(travelled / travelled[-1], np.float64)


def _between(
    integral: NDArray[np.generic], places: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """`integral` at fractional `places` along `axis`, linearly interpolated."""
    before = np.minimum(places.astype(int), integral.shape[axis] - 2)
    share = (places - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    first, second = (integral.take(at, axis).astype(np.float64) for at in (before, before + 1))
    return np.asarray(first + share * (second - first), np.float64)


@lru_cache(maxsize=32)
def _edges(
    fovea: Fovea, side: int, size_px: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the LR pixels end in the full picture, from the top and from the left:
    [size_px + 1] each."""
    even = np.linspace(0, side, _STEPS + 1)
    ends = np.linspace(0, 1, size_px + 1)
    y, x = (np.interp(ends, _travel(at, fovea.radius), even) for at in (fovea.y, fovea.x))
    return y, x


@lru_cache(maxsize=32)
def _places(fovea: Fovea, size_px: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where in the LR picture each pixel of the straightened one lies: x and y, [2s, 2s] each."""
    side = STRAIGHTENED * size_px
    centres = (np.arange(side) + 0.5) / side
    even = np.linspace(0, 1, _STEPS + 1)
    x, y = (
        np.interp(centres, even, _travel(centre, fovea.radius)) * size_px - 0.5
        for centre in (fovea.x, fovea.y)
    )
    across, down = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return across, down
