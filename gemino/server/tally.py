"""What a call's counters say of the last moments; `now` is an argument."""

from collections import deque
from statistics import median

from gemino.call.display import ShownFrame
from gemino.call.stats import Counters
from gemino.config import REFERENCE_AMORTISATION_S
from gemino.server.windows import Window

_PATHS = 300
_LATEST = 30


class Tally:
    """One direction of a call, to be looked at a few times a second.

    payload_kbps: LR stream and references, these spread over a minute. lr_kbps: without them.
    onwire_kbps: all that crosses, headers and sound included. loss: share of packets, 0..1.
    """

    def __init__(self) -> None:
        self.payload_kbps = self.lr_kbps = self.onwire_kbps = self.loss = 0.0
        self._lr, self._wire, self._lost, self._came = Window(), Window(), Window(), Window()
        self._references = Window(REFERENCE_AMORTISATION_S)
        self._before = (0, 0, 0, 0, 0)

    def look(self, counters: Counters, now: float) -> None:
        """Account for what has come since the last look."""
        traffic = counters.traffic
        marks = (
            *(counters.lr_bytes, counters.reference_bytes, traffic.onwire_bytes),
            *(counters.packets_lost, traffic.packets),
        )
        windows = self._lr, self._references, self._wire, self._lost, self._came
        for window, mark, before in zip(windows, marks, self._before, strict=True):
            window.add(max(mark - before, 0), now)
        self._before = marks
        self.lr_kbps = self._lr.per_second(now) / 125
        references = self._references.total(now) / REFERENCE_AMORTISATION_S / 125
        self.payload_kbps = self.lr_kbps + references
        self.onwire_kbps = self._wire.per_second(now) / 125
        lost, came = self._lost.total(now), self._came.total(now)
        self.loss = lost / (lost + came) if lost else 0.0


class Lateness:
    """How much later than the quickest of the last ten seconds pictures are shown."""

    def __init__(self) -> None:
        self._paths: deque[float] = deque(maxlen=_PATHS)

    def add(self, shown: ShownFrame) -> None:
        """Account for a picture; its way begins at an unknown time, the same for all."""
        self._paths.append(shown.shown_s - shown.media_time_s)

    def seconds(self) -> float:
        """The median of the last second."""
        paths = list(self._paths)
        return median(paths[-_LATEST:]) - min(paths) if paths else 0.0


def delay_ms(incoming: Counters, outgoing: Counters | None, lateness_s: float) -> float:
    """From the other side's sending a picture to our showing it.

    Measured where one clock serves both; else estimated: half the way there and back, what decoding
    and rebuilding take here, and by how much pictures are late.
    """
    if measured := incoming.latency_ms.recent():
        return measured
    there_and_back = None if outgoing is None else outgoing.traffic.rtt_ms
    here = incoming.coding_ms.recent() + incoming.synthesize_ms.recent()
    return (there_and_back or 0.0) / 2 + here + lateness_s * 1000 if incoming.frames else 0.0
