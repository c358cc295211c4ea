"""What a frame needs at full scale on a CPU: by OpenCV, in a sixth of torch's time.

Three colours at full scale are the worst case for a library that is made for many channels: at
512 px torch takes 16 ms a frame for the same steps, of which half is copies from one layout to
another. All arrays here are as pictures lie in memory, colours innermost.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.frames import Frame

Plane = NDArray[np.float32]


def grid(size_px: int) -> Plane:
    """Each pixel's own place, [S, S, 2] as (x, y)."""
    line = np.arange(size_px, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1)


def warp_band(band: Plane, flow: Plane, gate: Plane, places: Plane) -> Plane:
    """`band` [S, S, 3] moved by `flow` [Q, Q, 2] and weighted by `gate` [Q, Q].

    The flow is in pixels of full scale. places: `grid(S)`. As `nn.warp.warp` does it, but to a
    thirty-second of a pixel.
    """
    size = band.shape[:2]
    source = cv2.add(cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR), places)
    warped = cv2.remap(band, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    weight = cv2.resize(gate, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(warped, cv2.merge([weight, weight, weight])), np.float32)


def compose(lr: Frame, band: Plane, blocks: Plane) -> Frame:
    """The picture uint8 [S, S, 3]: upsampled `lr` + `band` + residual, rounded and saturated.

    lr: [s, s, 3]. band: [S, S, 3], blocks: the residual as [S/4, S/4, 48] (`nn.generator.unblock`),
    both in 0..255.
    """
    size = band.shape[0]
    quarter = blocks.shape[0]
    cells = blocks.reshape(quarter, quarter, 4, 4, 3).transpose(0, 2, 1, 3, 4)
    detail = cv2.add(band, np.ascontiguousarray(cells).reshape(size, size, 3))
    way = cv2.INTER_AREA if lr.shape[0] > size else cv2.INTER_LINEAR
    upsampled = cv2.resize(lr.astype(np.float32), (size, size), interpolation=way)
    picture = cv2.add(upsampled, detail)
    # Rounds and saturates, but takes what is negative for positive. (`add` can write uint8 of
    # its own accord, from two floats at forty times the time.)
    _, picture = cv2.threshold(picture, 0, 0, cv2.THRESH_TOZERO)
    return np.asarray(cv2.convertScaleAbs(picture), np.uint8)
