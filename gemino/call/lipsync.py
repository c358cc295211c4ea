"""Pictures and sound of one moment, seen and heard at one moment.

Both come with the time when they were taken, on the other side's clock. What lies between that and
the time when they are shown or heard, on ours, is their *lag*. The clocks may be hours apart: they
are so by the same amount for both.

- A picture that is ready before its sound is played waits for it, as long as sound lags 0.4 s at
  most behind the picture's readiness.
- Where pictures come later than sound, sound is held back (`SoundPlayout.hold_back_s`), by so much
  that four pictures in five wait for their sound rather than the other way round.

Without sound to go by, pictures are shown as they come.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from gemino.call.display import ShownFrame

_MAX_HOLD_S = 0.4
_MAX_HELD = 30
_WINDOW_S = 6.0
_SHARE = 0.8
_SMOOTHING = 0.1
_JUMP_S = 0.08
_STALE_S = 1.0
"""What was heard longer ago says nothing of what is heard now."""


class Lags:
    """How far pictures and sound are behind; decides. `now` is time.monotonic()."""

    def __init__(self) -> None:
        self._pictures: deque[tuple[float, float]] = deque()
        self._sound_s: float | None = None
        self._heard_at = 0.0

    def ready(self, captured_s: float, now: float) -> float:
        """When to show a picture that is ready now."""
        lag_s = now - captured_s
        self._pictures.append((now, lag_s))
        while now - self._pictures[0][0] > _WINDOW_S:
            self._pictures.popleft()
        sound_s = self.sound_s(now)
        if sound_s is None or not 0 < sound_s - lag_s <= _MAX_HOLD_S:
            return now
        return captured_s + sound_s

    def heard(self, captured_s: float, at: float) -> None:
        """Sound of then is heard at `at`."""
        lag_s = at - captured_s
        known = self._sound_s
        if known is None or abs(lag_s - known) > _JUMP_S or at - self._heard_at > _STALE_S:
            self._sound_s = lag_s
        else:
            self._sound_s = known + _SMOOTHING * (lag_s - known)
        self._heard_at = at

    def sound_s(self, now: float) -> float | None:
        """The lag of what is heard now; None where nothing is."""
        return None if now - self._heard_at > _STALE_S else self._sound_s

    def hold_back_s(self, delay_s: float, now: float) -> float:
        """How long to hold back sound that is played with a delay of `delay_s` now."""
        sound_s = self.sound_s(now)
        if sound_s is None or not self._pictures:
            return 0.0
        ranked = sorted(lag_s for _, lag_s in self._pictures)
        wanted_s = ranked[int(_SHARE * (len(ranked) - 1))]
        return min(max(delay_s + wanted_s - sound_s, 0.0), _MAX_HOLD_S)


class LipSync:
    """Hands pictures to `show` when their sound is heard, in a thread of its own."""

    def __init__(self, show: Callable[[ShownFrame], None]) -> None:
        self._show = show
        self._lags = Lags()
        self._held: deque[tuple[float, ShownFrame]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lip sync", daemon=True)
        self._thread.start()

    def put(self, shown: ShownFrame, captured_s: float) -> None:
        """Take a picture that is ready."""
        with self._changed:
            due = self._lags.ready(captured_s, time.monotonic())
            if self._held:
                due = max(due, self._held[-1][0])
            self._held.append((due, shown))
            if len(self._held) > _MAX_HELD:
                self._held.popleft()
            self._changed.notify()

    def heard(self, captured_s: float, at: float) -> None:
        """Take what is heard when: sound of `captured_s` at `at`."""
        with self._changed:
            self._lags.heard(captured_s, at)

    def hold_back_s(self, delay_s: float) -> float:
        """As `Lags.hold_back_s`, now."""
        with self._changed:
            return self._lags.hold_back_s(delay_s, time.monotonic())

    def close(self) -> None:
        """Show what is held, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (shown := self._next()) is not None:
            self._show(shown)

    def _next(self) -> ShownFrame | None:
        with self._changed:
            while True:
                wait_s = self._held[0][0] - time.monotonic() if self._held else None
                if wait_s is not None and (wait_s <= 0 or self._closing):
                    return self._held.popleft()[1]
                if self._closing:
                    return None
                self._changed.wait(wait_s)
