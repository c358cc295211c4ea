"""What a frame needs at full scale on a CPU: by OpenCV, in a fraction of torch's time.

Three colours at full scale are the worst case for a library that is made for many channels: much
of what torch does for the same steps is copying from one layout to another. All arrays here are as
pictures lie in memory, colours innermost.
"""

import threading
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.frames import Frame

Plane = NDArray[np.float32]
_BANDS_KEPT = 2


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """What a reference shows beyond its LR picture. picture: [S, S, 3], lr: [s, s, 3], uint8."""

    picture: Frame
    lr: Frame

    def band(self) -> Plane:
        """The reference's high-frequency band, [S, S, 3] in -255..255."""
        size = self.picture.shape[0]
        way = cv2.INTER_AREA if self.lr.shape[0] > size else cv2.INTER_LINEAR
        upsampled = cv2.resize(self.lr.astype(np.float32), (size, size), interpolation=way)
        # Converted first: OpenCV's subtract is slow for two types at once.
        band = self.picture.astype(np.float32)
        return np.subtract(band, upsampled, out=band)


class Bands:
    """The bands of the references in use; several threads may ask.

    At 1024 px one takes 12.6 MB and is soon made, so that those of all references are not kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: deque[tuple[Detail, Plane]] = deque(maxlen=_BANDS_KEPT)

    def of(self, detail: Detail) -> Plane:
        """The band of `detail`, not to be written to."""
        with self._lock:
            for made, band in self._made:
                if made is detail:
                    return band
            band = detail.band()
            self._made.append((detail, band))
            return band


@lru_cache(maxsize=2)
def grid(size_px: int) -> Plane:
    """Each pixel's own place, [S, S, 2] as (x, y); not to be written to."""
    line = np.arange(size_px, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1)


def warp_band(band: Plane, flow: Plane, gate: Plane, places: Plane) -> Plane:
    """`band` [S, S, 3] moved by `flow` [Q, Q, 2] and weighted by `gate` [Q, Q].

    The flow is in pixels of full scale. places: `grid(S)`. As `nn.warp.warp` does it, but to a
    thirty-second of a pixel.
    """
    size = band.shape[:2]
    source = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR)
    cv2.add(source, places, dst=source)
    warped = cv2.remap(band, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    del source  # each of these is megabytes
    weight = cv2.resize(gate, size, interpolation=cv2.INTER_LINEAR)
    weights = cv2.merge([weight, weight, weight])
    return np.asarray(cv2.multiply(warped, weights, dst=weights), np.float32)


def compose(lr: Frame, band: Plane, blocks: Plane) -> Frame:
    """The picture uint8 [S, S, 3]: upsampled `lr` + `band` + residual, rounded and saturated.

    lr: [s, s, 3]. band: [S, S, 3], blocks: the residual as [S/4, S/4, 48] (`nn.generator.unblock`),
    both in 0..255.
    """
    size = band.shape[0]
    quarter = blocks.shape[0]
    cells = blocks.reshape(quarter, quarter, 4, 4, 3).transpose(0, 2, 1, 3, 4)
    picture = np.ascontiguousarray(cells).reshape(size, size, 3)
    cv2.add(band, picture, dst=picture)
    way = cv2.INTER_AREA if lr.shape[0] > size else cv2.INTER_LINEAR
    upsampled = cv2.resize(lr.astype(np.float32), (size, size), interpolation=way)
    cv2.add(upsampled, picture, dst=picture)
    # Rounds and saturates, but takes what is negative for positive. (`add` can write uint8 of
    # its own accord, from two floats at forty times the time.)
    cv2.threshold(picture, 0, 0, cv2.THRESH_TOZERO, dst=picture)
    return np.asarray(cv2.convertScaleAbs(picture), np.uint8)
