"""Keeps a call live on a machine that is too slow for it, or busy with something else.

A picture that takes longer to rebuild than the next one takes to come is shown late or not at all.
Then the network draws smaller pictures, which are enlarged to the size of the call: softer, but in
time. When there is room again, for long enough, it goes back up; a step up that fails is tried
again after twice as long.

No clock: `now` (seconds, monotonic) is an argument.
"""

import threading
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

_TOO_MUCH = 0.95
"""Of the time that there is, spent on rebuilding: what else a call does needs the rest."""
_ROOM = 0.7
_FRAMES = 15
_PATIENCE_S, _MOST_PATIENCE_S = 5.0, 80.0
_PROBATION_S = 10.0


class Governor:
    """Decides how large the network draws; one thread may tell what comes, another what is done.

    sizes_px: to choose from, the largest first. workers: frames that are rebuilt at a time.
    """

    def __init__(self, sizes_px: Sequence[int], workers: int) -> None:
        self._sizes = sizes_px
        self._workers = workers
        self._level = 0
        self._lock = threading.Lock()  # of `_came_at`, which both threads touch
        self._spent_s: deque[float] = deque(maxlen=_FRAMES)
        self._came_at: deque[float] = deque(maxlen=_FRAMES + 1)
        self._roomy_since: float | None = None
        self._raised_at: float | None = None
        self._patience_s = _PATIENCE_S

    @property
    def size_px(self) -> int:
        """What the network should draw now."""
        return self._sizes[self._level]

    def came(self, media_time_s: float) -> None:
        """Account for a picture that is due for rebuilding, by its time in the media."""
        with self._lock:
            if self._came_at and media_time_s <= self._came_at[-1]:
                self._came_at.clear()
            self._came_at.append(media_time_s)

    def rebuilt(self, seconds: float, now: float) -> bool:
        """Account for a picture of `size_px` that took `seconds`; whether `size_px` has changed."""
        self._spent_s.append(seconds)
        interval_s = self._interval_s()
        if interval_s is None or len(self._spent_s) < _FRAMES:
            return False
        share = median(self._spent_s) / (interval_s * self._workers)
        if share > _TOO_MUCH:
            return self._lower(share, now)
        if not self._level:
            return False
        if self._at(self._level - 1, share) > _ROOM:
            self._roomy_since = None
            return False
        if self._roomy_since is None:
            self._roomy_since = now
        if now - self._roomy_since < self._patience_s:
            return False
        self._raised_at = now
        self._move(self._level - 1)
        return True

    def _interval_s(self) -> float | None:
        """The usual time from one picture to the next, as the sender took them."""
        with self._lock:
            places = list(self._came_at)
        if len(places) <= _FRAMES // 2:
            return None
        return median(after - before for before, after in pairwise(places))

    def _lower(self, share: float, now: float) -> bool:
        """Go down to the first size that should be in time; each change costs a second."""
        if self._level + 1 == len(self._sizes):
            return False
        level = self._level + 1
        while level + 1 < len(self._sizes) and self._at(level, share) > _TOO_MUCH:
            level += 1
        failed = self._raised_at is not None and now - self._raised_at < _PROBATION_S
        self._patience_s = min(2 * self._patience_s, _MOST_PATIENCE_S) if failed else _PATIENCE_S
        self._raised_at = None
        self._move(level)
        return True

    def _at(self, level: int, share: float) -> float:
        """What `share` should be at another level: time goes with the pixels."""
        return share * (self._sizes[level] / self.size_px) ** 2

    def _move(self, level: int) -> None:
        self._level = level
        self._spent_s.clear()
        self._roomy_since = None
