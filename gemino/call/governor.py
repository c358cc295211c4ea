"""Keeps a call live on a machine that is too slow for it, or busy with something else.

A picture that takes longer to rebuild than the next one takes to come is shown late or not at all.
Then the call goes down a list of modes, each cheaper than the one before. First the network draws
every second or third picture, and those between take its detail along (`carry`), which is hardly
seen; then a lighter network draws, where there is one; then it draws smaller pictures, which are
softer. When there is room again, for long enough, it goes back up; a step up that fails is tried
again after twice as long. A call begins as the last one on this machine would have to (`begin`).

No clock: `now` (seconds, monotonic) is an argument.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from gemino.runtime import Drawing

MOST_EVERY = 3
_CARRIED = 0.05
"""What a picture between costs, as a share of a drawn one."""
_TOO_MUCH = 0.95
"""Of the time that there is, spent on rebuilding: what else a call does needs the rest."""
_ROOM = 0.7
_FAR_TOO_MUCH = 2.0
_USUAL_S = 1 / 30
_FRAMES, _FEW = 15, 5
"""So many drawn pictures decide; where they take far too much, a few of them do."""
_PATIENCE_S, _MOST_PATIENCE_S = 5.0, 80.0
_PROBATION_S = 10.0


@dataclass(frozen=True, slots=True)
class Mode:
    """How pictures are rebuilt: each `every`th is drawn, in that way."""

    drawing: Drawing
    every: int = 1

    @property
    def cost(self) -> float:
        """Of a picture on average, relative to drawing all of them as the first of the ways."""
        between = (self.every - 1) * _CARRIED
        return self.drawing.cost * (1 + between) / self.every


def modes(drawings: Sequence[Drawing]) -> tuple[Mode, ...]:
    """What to choose from, the best and costliest first.

    drawings: ways to draw, likewise; those at the first one's size first.
    """
    full = [drawing for drawing in drawings if drawing.size_px == drawings[0].size_px]
    smaller = [drawing for drawing in drawings if drawing.size_px < drawings[0].size_px]
    ladder = [Mode(drawings[0], every) for every in range(1, MOST_EVERY + 1)]
    for mode in [
        *(Mode(each, every) for each in full[1:] for every in range(1, MOST_EVERY + 1)),
        *(Mode(each, MOST_EVERY) for each in smaller),
    ]:
        if mode.cost < ladder[-1].cost:
            ladder.append(mode)
    return tuple(ladder)


class Governor:
    """Decides in which mode pictures are rebuilt; one thread may tell what comes, another what is
    done.

    ladder: to choose from (`modes`). workers: frames that are rebuilt at a time.
    """

    def __init__(self, ladder: Sequence[Mode], workers: int) -> None:
        self._ladder = ladder
        self._workers = workers
        self._level = 0
        self._lock = threading.Lock()  # of `_came_at`, which both threads touch
        self._spent_s: deque[float] = deque(maxlen=_FRAMES)
        self._came_at: deque[float] = deque(maxlen=_FRAMES + 1)
        self._roomy_since: float | None = None
        self._raised_at: float | None = None
        self._patience_s = _PATIENCE_S
        self.full_s: float | None = None
        """What a picture of the first mode takes, or would take, by the last few drawn."""

    def begin(self, full_s: float) -> None:
        """Start in the mode for pictures that take so long in the first one, 30 of them a second.

        It draws as the first one does: another network would have to be made ready.
        """
        share = full_s / (_USUAL_S * self._workers)
        first = self._ladder[0].drawing
        last = max(at for at, mode in enumerate(self._ladder) if mode.drawing == first)
        while self._level < last and share * self.mode.cost > _TOO_MUCH:
            self._level += 1

    @property
    def mode(self) -> Mode:
        """How pictures should be rebuilt now."""
        return self._ladder[self._level]

    def came(self, media_time_s: float) -> None:
        """Account for a picture that is due for rebuilding, by its time in the media."""
        with self._lock:
            if self._came_at and media_time_s <= self._came_at[-1]:
                self._came_at.clear()
            self._came_at.append(media_time_s)

    def drawn(self, seconds: float, now: float) -> bool:
        """Account for a picture drawn as `mode` says, in `seconds`; whether `mode` has changed."""
        self._spent_s.append(seconds)
        if len(self._spent_s) >= _FEW:
            self.full_s = median(self._spent_s) / self.mode.drawing.cost
        interval_s = self._interval_s()
        if interval_s is None:
            return False
        share = median(self._spent_s) / (interval_s * self.mode.every * self._workers)
        if len(self._spent_s) < (_FEW if share > _FAR_TOO_MUCH else _FRAMES):
            return False
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
        """Go down to the first mode that should be in time; each change costs a second."""
        if self._level + 1 == len(self._ladder):
            return False
        level = self._level + 1
        while level + 1 < len(self._ladder) and self._at(level, share) > _TOO_MUCH:
            level += 1
        failed = self._raised_at is not None and now - self._raised_at < _PROBATION_S
        self._patience_s = min(2 * self._patience_s, _MOST_PATIENCE_S) if failed else _PATIENCE_S
        self._raised_at = None
        self._move(level)
        return True

    def _at(self, level: int, share: float) -> float:
        """What `share` should be in another mode."""
        return share * self._ladder[level].cost / self.mode.cost

    def _move(self, level: int) -> None:
        self._level = level
        self._spent_s.clear()
        self._roomy_since = None
