"""When a frame is to become a reference, and how it is coded:

- the first frame,
- a frame after a wish for one (the receiver lost them, or has just joined),
- a frame after a change of scene, while none of the references fits the scene,
- a frame that is unlike all references so far, as long as the budget pays for it: a head turned, a
  mouth open, a hand up. No minute holds more than a minute's worth, nor more than a receiver keeps,
- a frame of a head that keeps still, some seconds after its last new pose: the same picture once
  more, as fine as pays. In a rich stream all are finer from the first, and the rest is better
  spent on the LR stream.

In a thin stream a coarse coding of the first, for which the fine one follows, comes on top of what
is paid for.

A reference that is wished for is paid for like one of a new scene: a receiver that wishes for more
than two minutes' worth in one gets no more, for the LR stream has to live as well.

Two references are never closer than `reference_min_interval_s`: one that is due earlier waits. But
a new scene waits for former scenes alone, not for a pose that was sent the moment before.
"""

from collections import deque
from dataclasses import dataclass

from gemino.config import REFERENCE_AMORTISATION_S, REFERENCES_HELD, EncoderConfig
from gemino.likeness import NEW_POSE, SAME_PICTURE, SCENE_CHANGE, Thumbnail, difference
from gemino.video.reference import Fineness

_COARSE_SHARE = 1 / 8
"""Of a minute's worth: a coarse reference that takes more costs a pose (below some 12 kbps)."""
_CALM_S = 5.0
"""So long after the last new pose a finer picture of the same one pays."""
_FINEST_PRICE = 2.0
"""What the finest coding of a picture costs, in terms of the first: 1.5 to 2 times as much."""
_RESERVE = 2.0
"""New poses that can still be paid for after it, at least."""
_RICH = 0.5
"""Of what a receiver holds, at the most that each may cost: where a minute pays for so much, there
is hardly ever another pose to save for (from some 30 kbps on)."""


@dataclass(slots=True, eq=False)
class _Held:
    """A reference that the receiver has. improvable: a finer coding of it would be better."""

    seen: Thumbnail
    improvable: bool = False


class ReferenceSchedule:
    """Says when a reference is due, and counts what they cost over the last minute.

    `now` is in seconds, of any clock that never goes back.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self.wanted = True
        self._min_interval_s = config.reference_min_interval_s
        self.pay_at_most(config.reference_max_bytes, config.reference_kbps)
        # When, how much, and whether the receiver holds it: what was paid in the last minute.
        self._paid: deque[tuple[float, int, bool]] = deque()
        self._price = config.reference_max_bytes  # what the next one costs, by the last one
        self._held: deque[_Held] = deque(maxlen=REFERENCES_HELD)
        self._newest: _Held | None = None  # what was due last
        self._improves_one = False  # instead of being one more
        self._previous: Thumbnail | None = None
        self._scene_changed = False
        self._sent_at: float | None = None
        self._scene_sent_at: float | None = None
        self._now = 0.0

    def hold(self, seen: Thumbnail) -> None:
        """The receiver has a picture like `seen`."""
        self._held.append(_Held(seen))

    def pay_at_most(self, max_bytes: int, kbps: float) -> None:
        """Another budget, for the minute that has been as well."""
        self._minute_bytes = kbps * 125 * REFERENCE_AMORTISATION_S
        # With no budget for poses nothing is saved for them.
        self._rich = not kbps or self._minute_bytes >= _RICH * REFERENCES_HELD * max_bytes

    def due(self, seen: Thumbnail, now: float, *, busy: bool) -> Fineness | None:
        """Whether the picture `seen` at `now` is to become a reference, and how it is coded; then
        it counts as one."""
        self._now = now
        while self._paid and now - self._paid[0][0] >= REFERENCE_AMORTISATION_S:
            self._paid.popleft()
        spent = sum(size for _, size, _ in self._paid)
        likest = min(self._held, key=lambda held: difference(seen, held.seen), default=None)
        unlike = 0.0 if likest is None else difference(seen, likest.seen)
        cut = self._previous is not None and difference(seen, self._previous) > SCENE_CHANGE
        self._previous = seen
        # A cut that comes back before its reference could be sent needs none.
        self._scene_changed = unlike > SCENE_CHANGE and (cut or self._scene_changed)
        # One more would push out one of the same minute.
        room = sum(held for *_, held in self._paid) < REFERENCES_HELD
        novel = unlike > NEW_POSE and room and spent + self._price <= self._minute_bytes
        # A new scene may cost a minute's worth more, but no more: some clips are all cuts.
        affordable = not self._minute_bytes or spent <= 2 * self._minute_bytes
        cut = self._scene_changed and affordable
        wanted = (self.wanted and room and affordable) or novel
        if busy:
            return None
        if (cut and self._rested(self._scene_sent_at)) or (wanted and self._rested(self._sent_at)):
            if cut or not self._held:
                self._scene_sent_at = now
            self.wanted = self._scene_changed = False
            self._newest, self._improves_one = _Held(seen), False
            self._held.append(self._newest)
            self._sent_at = now
            return "fine" if self._rich else "plain"
        if likest is not None and unlike <= SAME_PICTURE and self._improves(likest, spent):
            likest.seen, likest.improvable = seen, False
            self._newest, self._improves_one = likest, True
            self._sent_at = now
            return "finest"
        return None

    def _improves(self, held: _Held, spent: int) -> bool:
        """Whether a finer coding of `held` is worth its bytes now."""
        calm = self._rested(self._sent_at, _CALM_S)
        price = (_FINEST_PRICE + _RESERVE) * self._price
        return held.improvable and calm and spent + price <= self._minute_bytes

    def _rested(self, since: float | None, interval_s: float | None = None) -> bool:
        """Whether the least interval, or another one, has gone by since then."""
        interval_s = self._min_interval_s if interval_s is None else interval_s
        return since is None or self._now - since >= interval_s

    def pay(self, size_bytes: int, *, replaced: bool, as_good_as_asked: bool) -> None:
        """Account for a reference that was sent.

        replaced: by a finer one that follows. as_good_as_asked: its bytes were enough.
        """
        assert self._newest is not None
        self._newest.improvable = as_good_as_asked and not (self._improves_one or self._rich)
        # In a thin stream one that is replaced is not paid for: it would cost another pose.
        if replaced and size_bytes > _COARSE_SHARE * self._minute_bytes:
            return
        one_more = not replaced and not self._improves_one
        if one_more:
            self._price = size_bytes
        self._paid.append((self._now, size_bytes, one_more))
