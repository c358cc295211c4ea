"""What all codecs have in common: footage and a rate go in, pictures and their bytes come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gemino.evaluation.clips import Footage
from gemino.evaluation.rates import FLOOR, Rates, count
from gemino.frames import Frame

# Start-up is looked at ever more coarsely: each step a third longer than the one before.
_START_STEP_S = 0.1
_START_GROWTH = 4 / 3


class Reference(NamedTuple):
    """A reference's bytes, and the position from which on the receiver has it."""

    position: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """What a codec made of a play.

    asked_kbps: the rate that was wanted. sizes: bytes of every picture, by position. frames: what
    is shown at the positions of `kept(footage)`. delay: by how many positions a frame is shown
    later than it has come, because one is to be made before it. details: what else is worth
    keeping, as values for json.dumps.
    """

    footage: Footage
    asked_kbps: float
    sizes: Sequence[int] = field(repr=False)
    frames: Mapping[int, Frame] = field(repr=False)
    references: Sequence[Reference] = ()
    delay: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rates(self) -> Rates:
        """Of the last pass, references spread over a minute."""
        sizes = self.sizes[self.footage.settled :]
        return count(sizes, self.footage.fps, [reference.size for reference in self.references])

    @property
    def floor(self) -> bool:
        """It could not come down to the rate that was asked for."""
        return self.rates.payload_kbps > FLOOR * self.asked_kbps

    def shown(self) -> dict[int, Frame]:
        """The measured frames, by the places of `Footage.originals`."""
        return {place: self.frames[at] for place, at in self.footage.measured.items()}


class Codec(Protocol):
    """A codec to compare, opened and set for real-time, low-delay use."""

    @property
    def name(self) -> str: ...

    def run(self, footage: Footage, kbps: float) -> Coded:
        """Code the whole play at a payload of `kbps`, or as near as the codec comes to it.

        Raises CodecError where the codec is missing or fails.
        """


def pairs(footage: Footage) -> dict[int, int]:
    """Every second measured position, and the place of the frame that was shown before it."""
    positions = list(footage.measured.values())[::2]
    return {at: footage.order[at - 1] for at in positions if at > footage.settled}


def start_positions(footage: Footage) -> list[int]:
    """Where start-up is looked at: from the first frame on, at steps that grow."""
    fps, positions, at_s, step_s = float(footage.fps), [0], 0.0, _START_STEP_S
    while round((at_s + step_s) * fps) < len(footage.order):
        at_s += step_s
        step_s = max(_START_STEP_S, (_START_GROWTH - 1) * at_s)
        positions.append(round(at_s * fps))
    return sorted(set(positions))


def first_pass(footage: Footage) -> dict[int, int]:
    """Positions in the first pass by the measured places."""
    return {place: place for place in footage.originals}


def kept(footage: Footage) -> frozenset[int]:
    """The positions whose decoded frames are looked at."""
    before = (at - 1 for at in pairs(footage))
    return frozenset([*footage.measured.values(), *before, *start_positions(footage)])
