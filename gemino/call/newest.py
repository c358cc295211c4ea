"""The newest picture of something that does not wait: a camera, a screen."""

import threading
import time

from gemino.call.tracks import MediaClock, SourceFrame
from gemino.frames import Frame

_STANDS_S = 1.0


class NewestPictures:
    """A track's pictures, of which one is kept: each newer one takes its place.

    One thread puts, another gets. seconds: it ends so long after the start of `clock`. dropped:
    pictures that a newer one replaced before they were handed over.
    """

    def __init__(self, clock: MediaClock, seconds: float | None) -> None:
        self.dropped = 0
        self._clock = clock
        self._seconds = seconds
        self._sent_s = -1.0
        self._latest: tuple[int, Frame] | None = None
        self._fresh_at: float | None = None
        """When `latest` was taken, until it is handed over."""
        self._closed = False
        self._changed = threading.Condition()

    def is_closed(self) -> bool:
        """Whether no more is wanted."""
        return self._closed

    def put(self, index: int, frame: Frame, taken_s: float) -> None:
        """Keep this picture, taken at `taken_s` (time.monotonic), in place of the last one.

        One from before the call stands until there is another: it is too old to be new.
        """
        with self._changed:
            self.dropped += self._fresh_at is not None
            self._latest = index, frame
            self._fresh_at = taken_s if self._clock.running else None
            self._changed.notify_all()

    def wait_for_one(self, seconds: float) -> bool:
        """Wait for the first picture, so long at most; whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._latest is not None, seconds)

    def rest(self, seconds: float) -> bool:
        """Wait so long, or until no more is wanted; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def peek(self) -> SourceFrame | None:
        """None: the first picture of the call is yet to be taken."""
        return None

    def get(self) -> SourceFrame | None:
        """The newest picture, once; the last one again after a second without any."""
        with self._changed:
            self._changed.wait_for(self.ready, _STANDS_S)
            if self._closed or self._latest is None:
                return None
            taken_s = time.monotonic() if self._fresh_at is None else self._fresh_at
            self._fresh_at = None
            # A picture that stood in for this one may have gone out after this one was taken.
            time_s = max(taken_s - self._clock.start_s, self._sent_s + 0.001, 0.0)
            if self._seconds is not None and time_s >= self._seconds:
                return None
            self._sent_s = time_s
            index, frame = self._latest
            return SourceFrame(index, time_s, frame)

    def ready(self) -> bool:
        """Whether there is a picture that has not been handed over, or the end."""
        return self._closed or self._fresh_at is not None

    def close(self) -> None:
        """Want no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
