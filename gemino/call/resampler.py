"""A run of samples, read a little faster or slower than it came: two clocks never agree.

Between samples the curve is a cubic (Catmull-Rom) through the four around it; at speed 1 and a
whole position what comes out is what went in, bit for bit.
"""

import numpy as np
from numpy.typing import NDArray

from gemino.call.opus import Samples

_BEHIND, _AHEAD = 1, 2
"""Samples that the curve needs before and after a position."""


class Resampler:
    """A queue of samples. Its length is what can be taken at speed 1."""

    def __init__(self) -> None:
        self._samples: NDArray[np.float32] = np.zeros(_BEHIND, np.float32)
        self._at = float(_BEHIND)

    def __len__(self) -> int:
        return max(len(self._samples) - _AHEAD - int(np.ceil(self._at)), 0)

    @property
    def held(self) -> int:
        """Samples that have not been taken, those included that the curve still waits for."""
        return len(self._samples) - int(self._at)

    def put(self, samples: Samples) -> None:
        """Append samples."""
        self._samples = np.concatenate([self._samples, samples.astype(np.float32)])

    def needs(self, count: int, speed: float) -> int:
        """How many samples there must be for `take`."""
        return int(np.ceil(count * speed)) + 1

    def take(self, count: int, speed: float = 1.0) -> Samples:
        """The next `count` samples, of `count * speed` that came; silence where they end."""
        short = self.needs(count, speed) - len(self)
        if short > 0:
            self._samples = np.pad(self._samples, (0, short))
        whole = int(self._at)
        if speed == 1.0 and self._at == whole:
            taken = self._samples[whole : whole + count]
        else:
            taken = self._curve(self._at + speed * np.arange(count))
        self._at += speed * count
        done = int(self._at) - _BEHIND
        self._samples, self._at = self._samples[done:], self._at - done
        return np.clip(np.rint(taken), -32_768, 32_767).astype(np.int16)

    def drop(self, count: int) -> None:
        """Leave out the next `count` samples, or as many as there are."""
        self._at += max(min(count, len(self)), 0)
        done = int(self._at) - _BEHIND
        self._samples, self._at = self._samples[done:], self._at - done

    def _curve(self, positions: NDArray[np.floating]) -> NDArray[np.float32]:
        index = positions.astype(np.int64)
        t = (positions - index).astype(np.float32)
        before, here, after, beyond = (self._samples[index + step] for step in (-1, 0, 1, 2))
        slope, next_slope = (after - before) / 2, (beyond - here) / 2
        rise = after - here
        cubic = slope + next_slope - 2 * rise
        square = 3 * rise - 2 * slope - next_slope
        return np.asarray(((cubic * t + square) * t + slope) * t + here)
