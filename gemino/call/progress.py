"""What a receiver tells the sender of how it gets on, every two seconds."""

from gemino.call.stats import Counters, kbps
from gemino.wire import Message, Stats

_EVERY_S = 2.0


class Progress:
    """counters: of what is received."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._started_at = 0.0
        self._told_at: float | None = None
        self._told_bytes = 0

    def start(self, now: float) -> None:
        """The call begins."""
        self._started_at = now

    def messages(self, now: float) -> list[Message]:
        """What is to be said now."""
        if self._told_at is not None and now - self._told_at < _EVERY_S:
            return []
        counters = self._counters
        since_s = now - (self._told_at or self._started_at)
        received = kbps(counters.lr_bytes - self._told_bytes, since_s)
        self._told_at, self._told_bytes = now, counters.lr_bytes
        return [
            Stats(
                elapsed_ms=round((now - self._started_at) * 1000) & 0xFFFFFFFF,
                frames_decoded=counters.frames_coded,
                frames_shown=counters.frames,
                frames_neural=counters.frames_neural,
                packets_lost=counters.packets_lost,
                received_kbps=min(round(received), 0xFFFF),
                decode_p95_ms=_short(counters.coding_ms.recent_p(0.95)),
                synthesize_p95_ms=_short(counters.synthesize_ms.recent_p(0.95)),
                latency_p95_ms=_short(counters.latency_ms.recent_p(0.95)),
            )
        ]


def _short(milliseconds: float | None) -> int:
    return min(max(round(milliseconds or 0), 0), 0xFFFF)
