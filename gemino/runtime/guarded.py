"""An adapter is used for the person it was made for, and for nobody else.

Two synthesizers stand side by side, the generic network and the adapted one, and hold the same
references. The generic one draws until the faces in the LR stream are known to be the adapter's
(`gemino.identity`), and again from when they are not.
"""

import logging

from gemino.config import Sampling
from gemino.frames import Frame
from gemino.identity import Watcher
from gemino.runtime.base import Drawing, Synthesizer

logger = logging.getLogger(__name__)


class GuardedSynthesizer:
    """`personal` where `watcher` knows the person, else `generic`; both of one model and size."""

    def __init__(self, personal: Synthesizer, generic: Synthesizer, watcher: Watcher) -> None:
        self._personal, self._generic = personal, generic
        self._watcher = watcher
        self._active = generic
        self.name, self.way = personal.name, personal.way
        self.output_px, self.drawings = personal.output_px, personal.drawings

    @property
    def personal(self) -> bool:
        """Whether the adapter is in use."""
        return self._active is self._personal

    @property
    def neural(self) -> bool:
        return self._active.neural

    @property
    def lacking(self) -> bool:
        return self._active.lacking

    def add_reference(self, reference: Frame) -> None:
        """Hold `reference` in both."""
        for one in (self._personal, self._generic):
            one.add_reference(reference)

    def forget_references(self) -> None:
        """Hold none any more; somebody else may come."""
        for one in (self._personal, self._generic):
            one.forget_references()
        self._watcher.forget()
        self._active = self._generic

    def watch(self, lr: Frame) -> None:
        """Every LR picture [s, s, 3] in order: look for cuts, and whose face it is."""
        for one in (self._personal, self._generic):
            one.watch(lr)
        former = self._watcher.verdict
        self._watcher.watch(lr)
        verdict = self._watcher.verdict
        if verdict is False and former is not False:
            logger.warning(
                "the adapter %s is not used: the face in the stream is another one (%.2f alike)",
                self.name,
                self._watcher.alike,
            )
        self._active = self._personal if verdict else self._generic

    def expect(self, sampling: Sampling) -> None:
        """Make both ready."""
        for one in (self._active, self._personal, self._generic):
            one.expect(sampling)

    def ready(self, sampling: Sampling) -> bool:
        return self._active.ready(sampling)

    def draw_as(self, drawing: Drawing) -> None:
        """Draw in another way of `drawings`; ValueError for none of them."""
        at = self.drawings.index(drawing)
        for one in (self._personal, self._generic):
            one.draw_as(one.drawings[at])

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3], straightened."""
        return self._active.synthesize(lr, sampling, log2_bits_per_pixel)
