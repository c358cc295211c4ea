"""How many bits go where: the budget that LR stream, references and sound share.

The caller states the payload rate of the video, references included; sound comes on top. A
part of that rate pays for references (`config.reference_kbps`), spread over a minute, and the rest
is the LR stream. A reference that is under way may leave `REFERENCE_BURST` times as fast as the
whole stream: at 15 kbps 15 kB cross in a second instead of eight, and the amortised rate is what
was asked. What references have not needed for a while, the LR stream borrows (`borrowing`).

`Adaptation` lowers that rate when the network loses packets and climbs back slowly. The receiver's
bandwidth estimate (REMB) is not asked for: it is bounded by about 1.5 times what arrives and its
delay signal sees a busy processor as well as a busy network, so on a stream this thin it lowers
the rate for no reason, and the send times that it needs cost 2 kbps of headers. A change of rung
costs a key frame, hence the dead band and the pause between two.

No socket and no clock: `now` (seconds, monotonic) is an argument.
"""

import math
from dataclasses import dataclass, replace

from gemino.call.borrowing import Loan
from gemino.config import (
    MIN_KBPS,
    REFERENCE_BURST,
    LadderSteps,
    LrCodec,
    Rung,
    ladder,
    reference_budget_bytes,
    reference_kbps,
)

_MUCH_LOSS, _LITTLE_LOSS = 0.1, 0.02
_BACK_OFF, _CLIMB = 0.85, 1.05
_DEAD_BAND = 0.15
_PAUSE_S = 5.0
_PAUSE_WHEN_ASKED_S = 0.5
"""A slider that is dragged does not cost a key frame for each of its steps."""
_PAUSE_BEFORE_BORROWING_S = 20.0
_TELLING_KBPS = 0.25
"""Changes of the references' budget that are worth telling; they cost nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One division of the rate.

    rung: the LR stream. reference_kbps: what references may cost on average over a minute.
    reference_max_bytes: how large one may be. reference_pace_kbps: how fast its chunks may leave.
    """

    rung: Rung
    reference_kbps: float
    reference_max_bytes: int
    reference_pace_kbps: float


def split(
    total_kbps: float,
    output_px: int,
    codec: LrCodec = "vp8",
    steps: LadderSteps | None = None,
    *,
    plain: bool = False,
    borrowed_kbps: float = 0.0,
) -> Budget:
    """Divide `total_kbps` of video payload; steps: the model's ladder for `codec`.

    plain: for a peer that takes no references. borrowed_kbps: of what they may cost, the LR stream
    has so much; the budget that is told for them does not know.
    """
    references = 0.0 if plain else reference_kbps(total_kbps, output_px)
    rung = ladder(max(total_kbps - references + borrowed_kbps, MIN_KBPS), codec, steps)
    return Budget(
        rung=replace(rung, size_px=min(rung.size_px, output_px)),
        reference_kbps=references,
        reference_max_bytes=reference_budget_bytes(total_kbps, output_px),
        reference_pace_kbps=total_kbps * REFERENCE_BURST,
    )


class Adaptation:
    """Follows what the network tells, never above the rate that was asked for."""

    def __init__(
        self,
        asked_kbps: float,
        output_px: int,
        codec: LrCodec = "vp8",
        steps: LadderSteps | None = None,
        *,
        plain: bool = False,
    ) -> None:
        self.kbps = asked_kbps
        self._asked_kbps = asked_kbps
        self._output_px = output_px
        self._codec: LrCodec = codec
        self._steps = steps
        self._plain = plain
        self._current = split(asked_kbps, output_px, codec, steps, plain=plain)
        self._share_kbps = self._current.reference_kbps
        self._loan = Loan()
        self._changed_at: float | None = None
        self._begun_at: float | None = None
        self._asked_anew = False

    def __repr__(self) -> str:
        return f"Adaptation({self.kbps:.1f} of {self._asked_kbps:.1f} kbps)"

    @property
    def budget(self) -> Budget:
        return self._current

    def ask(self, kbps: float) -> None:
        """Follow another rate from now on; it holds with the next `update`, however small it is."""
        self._asked_kbps = self.kbps = kbps
        self._asked_anew = True

    def on_loss(self, lost: int, expected: int) -> None:
        """Account for one report interval: `lost` packets of `expected`."""
        if expected <= 0:
            return
        fraction = lost / expected
        if fraction > _MUCH_LOSS:
            self.kbps = max(self.kbps * _BACK_OFF, MIN_KBPS)
        elif fraction < _LITTLE_LOSS:
            self.kbps = min(self.kbps * _CLIMB, self._asked_kbps)

    def update(self, now: float, needed_kbps: float = math.inf) -> Budget | None:
        """The new budget, if it is time for one and differs enough.

        needed_kbps: what references have taken over the last minute, and what they are to have
        left; what that leaves of their share, the LR stream borrows.
        """
        self._begun_at = now if self._begun_at is None else self._begun_at
        return self._divide(now, needed_kbps) or self._pay_back(now)

    def _divide(self, now: float, needed_kbps: float) -> Budget | None:
        """Another LR stream, if it is time for one and it differs enough."""
        pause_s = _PAUSE_WHEN_ASKED_S if self._asked_anew else _PAUSE_S
        if self._changed_at is not None and now - self._changed_at < pause_s:
            return None
        whole = self._split(0.0)
        borrowed = max(whole.reference_kbps - needed_kbps, 0.0)
        since = self._begun_at if self._changed_at is None else self._changed_at
        if since is None or now - since < _PAUSE_BEFORE_BORROWING_S:
            borrowed = min(borrowed, self._loan.kbps)
        wanted = self._split(borrowed)
        current = self._current.rung.video_kbps
        dead_band = 0.0 if self._asked_anew else _DEAD_BAND
        if abs(wanted.rung.video_kbps - current) <= dead_band * current:
            return None
        self._changed_at, self._asked_anew = now, False
        self._share_kbps = whole.reference_kbps
        self._loan.change(borrowed, now)
        self._current = replace(wanted, reference_kbps=self._left_for_references(now))
        return self._current

    def _pay_back(self, now: float) -> Budget | None:
        """The same LR stream, and what references may cost where that has changed."""
        left = self._left_for_references(now)
        if abs(left - self._current.reference_kbps) < _TELLING_KBPS:
            return None
        self._current = replace(self._current, reference_kbps=left)
        return self._current

    def _left_for_references(self, now: float) -> float:
        return max(self._share_kbps - self._loan.mean_kbps(now), 0.0)

    def _split(self, borrowed_kbps: float) -> Budget:
        return split(
            self.kbps,
            self._output_px,
            self._codec,
            self._steps,
            plain=self._plain,
            borrowed_kbps=borrowed_kbps,
        )
