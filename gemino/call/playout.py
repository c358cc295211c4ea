"""Which of the pictures that have arrived is shown next.

Every coded picture must be decoded, because each builds on the one before; only the
reconstruction can be skipped. So the worker asks for a *batch*: the pictures to decode now, of
which the last is shown.

- A picture is on time while it is at most `max_late_s` behind its place in the stream's own
  timing; pictures on time are shown one by one, however bursty their arrival.
- A picture that is later than that is decoded without being shown when a newer one is there: the
  newest wins, so delay never grows.
- "Its place" is the smallest arrival minus timestamp of the last `window_s` seconds: the path's
  delay without its jitter, following slow drift of the two clocks.

The queue is bounded: when the worker stalls for good, the oldest pictures are given up, and the
gap in their numbers tells the decoder.
"""

from collections import deque
from dataclasses import dataclass

from gemino.call.jitter import Picture, unwrap

VIDEO_CLOCK_HZ = 90_000
_TIMESTAMP_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class DuePicture:
    """A picture and its media time: seconds since the stream's first picture.

    interpolated: it was not sent, but made from its neighbours. rest_s: at least so long the one
    before it is seen first.
    """

    picture: Picture
    media_time_s: float
    interpolated: bool = False
    rest_s: float = 0.0


@dataclass(slots=True)
class _BaseDelay:
    """The smallest of a sliding window of samples."""

    window_s: float
    samples: deque[tuple[float, float]]

    def update(self, value: float, now: float) -> None:
        while self.samples and self.samples[-1][1] >= value:
            self.samples.pop()
        self.samples.append((now, value))
        while now - self.samples[0][0] > self.window_s:
            self.samples.popleft()

    @property
    def value(self) -> float:
        return self.samples[0][1]


class Playout:
    """Holds coded pictures between the network and the worker."""

    def __init__(self, max_late_s: float = 0.1, capacity: int = 90, window_s: float = 10.0) -> None:
        self.skipped = 0
        self.overflowed = 0
        self._max_late_s = max_late_s
        self._capacity = capacity
        self._queue: deque[DuePicture] = deque()
        self._base = _BaseDelay(window_s, deque())
        self._first_timestamp: int | None = None
        self._last_timestamp = 0

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, picture: Picture) -> None:
        """Take a picture that has arrived (at `picture.arrived_at`)."""
        if self._first_timestamp is None:
            self._first_timestamp = self._last_timestamp = picture.timestamp
        timestamp = unwrap(picture.timestamp, self._last_timestamp, _TIMESTAMP_MODULUS)
        self._last_timestamp = timestamp
        media_time_s = (timestamp - self._first_timestamp) / VIDEO_CLOCK_HZ
        self._base.update(picture.arrived_at - media_time_s, picture.arrived_at)
        self._queue.append(DuePicture(picture, media_time_s))
        if len(self._queue) > self._capacity:
            self._queue.popleft()
            self.overflowed += 1

    def take(self, now: float) -> list[DuePicture]:
        """The pictures to decode now; the last is to be shown. Empty when none has arrived."""
        batch: list[DuePicture] = []
        while self._queue:
            batch.append(self._queue.popleft())
            late_s = now - self._base.value - batch[-1].media_time_s
            if late_s <= self._max_late_s:
                break
        self.skipped += max(len(batch) - 1, 0)
        return batch
