"""What rebuilds full-size pictures from LR pictures, and the way that always works."""

from dataclasses import dataclass
from typing import Literal, Protocol

from gemino.config import Sampling
from gemino.frames import Frame, resize
from gemino.runtime.origins import Origins

Precision = Literal["auto", "bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A way to draw: with which model, and how large; smaller pictures are enlarged.

    cost: the time of a picture, as a multiple of what the first of a synthesizer's ways takes.
    """

    model: str
    size_px: int
    cost: float = 1.0


class Synthesizer(Protocol):
    """Makes the picture that is shown.

    name: the model's, or "classical". output_px: side of the pictures made. neural: whether the
    next picture goes through a trained network; False without a model or before a reference.
    drawings: ways that it can draw, the best and costliest first, which is what it does until told
    otherwise. way: what runs the network, for people.
    """

    name: str
    output_px: int
    drawings: tuple[Drawing, ...]
    way: str

    @property
    def neural(self) -> bool: ...

    @property
    def lacking(self) -> bool:
        """A cut has come by, and no reference shows what came after: the gates stay shut."""

    def add_reference(self, reference: Frame) -> None:
        """Hold `reference`, square RGB of any size, beside those held; the newest few stay."""

    def forget_references(self) -> None:
        """Hold none any more."""

    def watch(self, lr: Frame) -> None:
        """Look for cuts: every LR picture [s, s, 3] in order, straightened, shown or not.

        Behind a cut, references of the scene before it are of no use.
        """

    def expect(self, sampling: Sampling) -> None:
        """Make ready for LR pictures of another kind; takes up to a second, beside the frames."""

    def ready(self, sampling: Sampling) -> bool:
        """Whether a picture of that kind would wait for nothing but its own drawing."""

    def draw_as(self, drawing: Drawing) -> None:
        """Draw in another way of `drawings`; takes a second, beside the frames."""

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3], straightened.

        sampling: how the LR picture that was coded samples the full one.
        """

    def explain(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Frame, Origins | None]:
        """`synthesize`, and where the detail comes from; None where no network drew."""


class ClassicalSynthesizer:
    """Cubic upsampling; ignores references. Needs no model."""

    neural = False
    lacking = False

    def __init__(self, output_px: int) -> None:
        self.name = "classical"
        self.output_px = output_px
        self.drawings: tuple[Drawing, ...] = (Drawing(self.name, output_px),)
        self.way = "no network"

    def add_reference(self, reference: Frame) -> None:
        """Nothing to keep."""

    def forget_references(self) -> None:
        """Nothing was kept."""

    def watch(self, lr: Frame) -> None:
        """No reference is used before or behind a cut."""

    def expect(self, sampling: Sampling) -> None:
        """Nothing to make ready."""

    def ready(self, sampling: Sampling) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def draw_as(self, drawing: Drawing) -> None:
        """There is no network."""

    def synthesize(
        self,
        lr: Frame,
        sampling: Sampling,  # noqa: ARG002
        log2_bits_per_pixel: float,  # noqa: ARG002
    ) -> Frame:
        """`lr` [s, s, 3], cubically upsampled to [output_px, output_px, 3]."""
        return resize(lr, self.output_px)

    def explain(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Frame, Origins | None]:
        """No network drew."""
        return self.synthesize(lr, sampling, log2_bits_per_pixel), None
