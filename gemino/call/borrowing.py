"""What the LR stream has of the references' share while they do not need it.

Over any minute, LR stream and references together stay within their rate: what was borrowed is
missing in the references' budget until it is a minute old.
"""

from collections import deque

from gemino.config import REFERENCE_AMORTISATION_S


class Loan:
    """kbps: what is borrowed now."""

    def __init__(self) -> None:
        self.kbps = 0.0
        self._former: deque[tuple[float, float, float]] = deque()  # from when, until when, kbps
        self._since = 0.0

    def __repr__(self) -> str:
        return f"Loan({self.kbps:.1f} kbps)"

    def change(self, kbps: float, now: float) -> None:
        """Borrow `kbps` from `now` on, in seconds."""
        if kbps != self.kbps:
            self._former.append((self._since, now, self.kbps))
            self.kbps, self._since = kbps, now

    def mean_kbps(self, now: float) -> float:
        """What was borrowed over the last minute, on average."""
        begin = now - REFERENCE_AMORTISATION_S
        while self._former and self._former[0][1] <= begin:
            self._former.popleft()
        spans = [*self._former, (self._since, now, self.kbps)]
        bits = sum((until - max(since, begin)) * kbps for since, until, kbps in spans)
        return bits / REFERENCE_AMORTISATION_S
