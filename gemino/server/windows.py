"""Rates over the last moments; `now` is an argument."""

import math
from collections import deque

from gemino.config import REFERENCE_AMORTISATION_S

WINDOW_S = 2.0
PACKET_BYTES = 1_200
HEADER_BYTES = 50
"""Of a media packet: IPv4 20, UDP 8, RTP 12, SRTP tag 10."""


class Window:
    """A sum over the last `seconds`."""

    def __init__(self, seconds: float = WINDOW_S) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()
        self._since: float | None = None

    def add(self, value: float, now: float) -> None:
        """Account for `value`, at `now`."""
        if self._since is None:
            self._since = now
        self._values.append((now, value))
        self._forget(now)

    def per_second(self, now: float) -> float:
        """The sum of the last `seconds`, or of the time since the first value, a second."""
        self._forget(now)
        if self._since is None:
            return 0.0
        # The first value opens the time rather than filling it; half a second tells enough.
        span_s = min(max(now - self._since, 0.5), self._seconds)
        return sum(value for _, value in self._values) / span_s

    def total(self, now: float) -> float:
        """The sum itself."""
        self._forget(now)
        return sum(value for _, value in self._values)

    def _forget(self, now: float) -> None:
        while self._values and now - self._values[0][0] > self._seconds:
            self._values.popleft()


class StreamRate:
    """Payload and cost on the wire of one stream of coded pictures, and of its references."""

    def __init__(self) -> None:
        self._payload, self._packets = Window(), Window()
        self._references: deque[tuple[float, int]] = deque()

    def picture(self, size_bytes: int, now: float) -> None:
        """Account for an LR picture."""
        self._payload.add(size_bytes, now)
        self._packets.add(math.ceil(size_bytes / PACKET_BYTES), now)

    def reference(self, size_bytes: int, now: float) -> None:
        """Account for a reference."""
        self._references.append((now, size_bytes))

    def kbps(self, now: float) -> tuple[float, float]:
        """Payload and on the wire; references count over the last minute."""
        while self._references and now - self._references[0][0] > REFERENCE_AMORTISATION_S:
            self._references.popleft()
        sizes = [size for _, size in self._references]
        chunks = sum(math.ceil(size / PACKET_BYTES) for size in sizes)
        payload = self._payload.per_second(now) + sum(sizes) / REFERENCE_AMORTISATION_S
        headers = self._packets.per_second(now) + chunks / REFERENCE_AMORTISATION_S
        return payload / 125, (payload + headers * HEADER_BYTES) / 125
