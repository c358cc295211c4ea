"""How many bits the low-resolution stream spends, as the receiver sees them arrive."""

import math

_SMOOTHING = 1 / 16
_START = -5.0
"""log2(bits per pixel) assumed before the first picture: about 15 kbps at 128 px and 30 fps."""


class BitsPerPixelMeter:
    """Smoothed log2(bits per pixel) of a stream of coded pictures.

    The network is told how coarse its input is with this figure. It needs no clock and no word
    from the sender, so files, calls and training compute the same one. Smoothing happens on the
    logarithm: a key frame, 30 times as large as its neighbours, moves it by little.
    """

    def __init__(self) -> None:
        self.level = _START

    def update(self, payload_bytes: int, size_px: int) -> float:
        """Account for one coded picture of `size_px` squared and return the new level."""
        bits = max(payload_bytes, 1) * 8
        self.level += _SMOOTHING * (math.log2(bits / (size_px * size_px)) - self.level)
        return self.level
