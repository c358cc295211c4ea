"""An adapter is used for the person it was made for, where it was found to help, and nowhere else.

Two synthesizers stand side by side, the generic network and the adapted one, and hold the same
references. The generic one draws until the faces in the LR stream are known to be the adapter's
(`gemino.identity`), and again from when they are not; and always at sizes of pictures at which the
adapter did not draw better on its owner's own video.
"""

import logging
from collections.abc import Set as AbstractSet

from gemino.adapters import Size
from gemino.config import Sampling
from gemino.frames import Frame
from gemino.identity import Watcher
from gemino.runtime.base import Drawing, Synthesizer
from gemino.runtime.origins import Origins

logger = logging.getLogger(__name__)


class GuardedSynthesizer:
    """`personal` where `watcher` knows the person and the size is in `serves`, else `generic`.

    Both are of one model and size.
    """

    def __init__(
        self,
        personal: Synthesizer,
        generic: Synthesizer,
        watcher: Watcher,
        serves: AbstractSet[Size],
    ) -> None:
        self._personal, self._generic = personal, generic
        self._watcher = watcher
        self._serves = serves
        self._known = False
        self._drawing = personal.drawings[0]
        self.name, self.way = personal.name, personal.way
        self.output_px, self.drawings = personal.output_px, personal.drawings

    @property
    def personal(self) -> bool:
        """Whether the person is known: the adapter is in use where it serves."""
        return self._known

    @property
    def neural(self) -> bool:
        return self._generic.neural

    @property
    def lacking(self) -> bool:
        return self._generic.lacking

    def add_reference(self, reference: Frame) -> None:
        """Hold `reference` in both."""
        for one in (self._personal, self._generic):
            one.add_reference(reference)

    def forget_references(self) -> None:
        """Hold none any more; somebody else may come."""
        for one in (self._personal, self._generic):
            one.forget_references()
        self._watcher.forget()
        self._known = False

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
        self._known = bool(verdict)

    def expect(self, sampling: Sampling) -> None:
        """Make both ready, the one that will draw first."""
        drawer = self._drawer(sampling)
        for one in (drawer, *(one for one in (self._personal, self._generic) if one is not drawer)):
            one.expect(sampling)

    def ready(self, sampling: Sampling) -> bool:
        return self._drawer(sampling).ready(sampling)

    def draw_as(self, drawing: Drawing) -> None:
        """Draw in another way of `drawings`; ValueError for none of them."""
        at = self.drawings.index(drawing)
        for one in (self._personal, self._generic):
            one.draw_as(one.drawings[at])
        self._drawing = drawing

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3], straightened."""
        return self._drawer(sampling).synthesize(lr, sampling, log2_bits_per_pixel)

    def explain(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Frame, Origins | None]:
        """`synthesize`, and where the detail comes from; None where no network drew."""
        return self._drawer(sampling).explain(lr, sampling, log2_bits_per_pixel)

    def _drawer(self, sampling: Sampling) -> Synthesizer:
        """Who draws such pictures now. What a fovea bends was judged nowhere."""
        drawing = self._drawing
        own = drawing.model == self.name and sampling.fovea is None
        serves = own and Size(drawing.size_px, sampling.size_px) in self._serves
        return self._personal if self._known and serves else self._generic
