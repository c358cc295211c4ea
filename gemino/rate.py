"""How many bits the low-resolution stream spends, as the receiver sees them arrive."""

import math
from collections.abc import Mapping

from gemino.config import LrCodec

_SMOOTHING = 1 / 16
_START = -5.0
"""log2(bits per pixel) assumed before the first picture: about 15 kbps at 128 px and 30 fps."""


_GAIN: Mapping[LrCodec, float] = {"vp8": 0.0, "vp9": 0.0, "av1": 0.6}
"""How many bits of VP8 a bit of another codec is worth, as log2: about 1.5 at 128 px."""


_LEAST_SHARE = 1 / 8
"""Networks are trained on no smaller LR pictures."""


class BitsPerPixelMeter:
    """Smoothed log2(bits per pixel) of a stream of coded pictures, in bits of VP8.

    The network is told how coarse its input is with this figure. It needs no clock and no word
    from the sender, so files, calls and training compute the same one. Smoothing happens on the
    logarithm: a key frame, 30 times as large as its neighbours, moves it by little.
    """

    def __init__(self, codec: LrCodec = "vp8") -> None:
        self.level = _START
        self._gain = _GAIN[codec]

    def update(self, payload_bytes: int, size_px: int) -> float:
        """Account for one coded picture of `size_px` squared and return the new level."""
        bits = max(payload_bytes, 1) * 8
        level = math.log2(bits / (size_px * size_px)) + self._gain
        self.level += _SMOOTHING * (level - self.level)
        return self.level


def rung_vector(lr_px: int, log2_bits_per_pixel: float, output_px: int) -> list[float]:
    """The network's rung input, about -1..2: LR size, and bits per pixel (`BitsPerPixelMeter`).

    The size is a share of the output's, for that says what detail the LR picture lacks: 1 for half
    of it, -1 for an eighth and less.
    """
    share = max(lr_px / output_px, _LEAST_SHARE)
    return [math.log2(4 * share), (log2_bits_per_pixel + 5.0) / 2.0]
