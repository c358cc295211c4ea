"""What every network's synthesizer does with references, whichever runtime draws."""

import time
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Generic

import numpy as np

from gemino.config import Sampling
from gemino.frames import Frame, resize
from gemino.runtime.base import Drawing
from gemino.runtime.holding import Features, Holding
from gemino.runtime.origins import Origins

_NOISE, _NOISE_BITS = Sampling(128), -5.0  # what frames are timed with


class NeuralSynthesizer(ABC, Generic[Features]):
    """A synthesizer that holds references; a runtime adds how it prepares them and draws.

    drawings: ways to draw, at `output_px` first.
    """

    def __init__(self, output_px: int, drawings: tuple[Drawing, ...]) -> None:
        self.output_px = output_px
        self.drawings = drawings
        self._holding = self._hold_none()

    @property
    def neural(self) -> bool:
        """Whether there is a reference to draw with."""
        return len(self._holding) > 0

    @property
    def lacking(self) -> bool:
        """Whether the references held are all of scenes before a cut."""
        return self._holding.lacking

    def add_reference(self, reference: Frame) -> None:
        """Hold `reference`, square RGB of any size, for the pictures to come."""
        self._holding.add(resize(reference, self.output_px))

    def forget_references(self) -> None:
        """Hold none any more."""
        self._holding.forget()

    def watch(self, lr: Frame) -> None:
        """Look for cuts: every LR picture [s, s, 3] in order, straightened, shown or not."""
        self._holding.watch(lr)

    def expect(self, sampling: Sampling) -> None:
        """Make ready for LR pictures of another kind; takes up to a second, beside the frames."""
        self._holding.expect(sampling)

    def ready(self, sampling: Sampling) -> bool:
        """Whether a picture of that kind would wait for nothing but its own drawing."""
        return self._holding.ready(sampling)

    def draw_as(self, drawing: Drawing) -> None:
        """Draw in another way of `drawings`; takes a second, beside the frames.

        Raises ValueError for one that is none of them.
        """
        if drawing not in self.drawings:
            raise ValueError(f"{drawing} is none of {self.drawings}")
        self._holding.draw_as(drawing)

    @abstractmethod
    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3] uint8, straightened.

        sampling: how the LR picture that was coded samples the full one.
        """

    @abstractmethod
    def explain(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Frame, Origins | None]:
        """`synthesize`, and where the detail comes from; None where no network drew."""

    @abstractmethod
    def _prepare(self, reference: Frame, sampling: Sampling, drawing: Drawing) -> Features:
        """A reference of the size to be drawn, made ready for this sampling."""

    def _hold_none(self, drawing: Drawing | None = None) -> Holding[Features]:
        return Holding(self._prepare, drawing or self.drawings[0])

    def frame_s(self, runs: int) -> float:
        """CPU seconds of a frame as it is drawn first, the best of `runs`; forgets nothing."""
        return self._frame_s(self.drawings[0], runs)

    def _frame_s(self, drawing: Drawing, runs: int) -> float:
        """CPU seconds of a frame of noise drawn in this way, the best of `runs` after one that
        warms up; leaves no reference behind.

        Of this thread, which does at least its share of the work: what else runs on a busy machine
        must not decide.
        """
        shape = (_NOISE.size_px, _NOISE.size_px, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        kept, self._holding = self._holding, self._hold_none(drawing)
        try:
            self._holding.add(resize(noise, drawing.size_px))
            stamps = []
            for _ in range(runs + 1):
                self.synthesize(noise, _NOISE, _NOISE_BITS)
                stamps.append(time.thread_time())
        finally:
            self._holding = kept
        return min(after - before for before, after in pairwise(stamps))
