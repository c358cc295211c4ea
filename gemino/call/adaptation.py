"""How many bits go where: the budget that LR stream, references and sound share.

The caller states the payload rate of the video, references included; sound comes on top. A
part of that rate pays for references (`config.reference_kbps`), spread over a minute, and the rest
is the LR stream. A reference that is under way may leave `REFERENCE_BURST` times as fast as the
whole stream: at 15 kbps 15 kB cross in a second instead of eight, and the amortised rate is what
was asked.

`Adaptation` lowers that rate when the network loses packets and climbs back slowly. The receiver's
bandwidth estimate (REMB) is not asked for: it is bounded by about 1.5 times what arrives and its
delay signal sees a busy processor as well as a busy network, so on a stream this thin it lowers
the rate for no reason, and the send times that it needs cost 2 kbps of headers. A change of rung
costs a key frame, hence the dead band and the pause between two.

No socket and no clock: `now` (seconds, monotonic) is an argument.
"""

from dataclasses import dataclass, replace

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
) -> Budget:
    """Divide `total_kbps` of video payload; steps: the model's ladder for `codec`.

    plain: for a peer that takes no references.
    """
    references = 0.0 if plain else reference_kbps(total_kbps, output_px)
    rung = ladder(max(total_kbps - references, MIN_KBPS), codec, steps)
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
        self._changed_at: float | None = None
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

    def update(self, now: float) -> Budget | None:
        """The new budget, if it is time for one and differs enough."""
        pause_s = _PAUSE_WHEN_ASKED_S if self._asked_anew else _PAUSE_S
        if self._changed_at is not None and now - self._changed_at < pause_s:
            return None
        current = self._current.rung.video_kbps
        wanted = split(self.kbps, self._output_px, self._codec, self._steps, plain=self._plain)
        dead_band = 0.0 if self._asked_anew else _DEAD_BAND
        if abs(wanted.rung.video_kbps - current) <= dead_band * current:
            return None
        self._changed_at, self._asked_anew = now, False
        self._current = wanted
        return wanted
