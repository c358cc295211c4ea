"""An adapter is used for the person it was made for, where it was found to help, and nowhere else.

Two synthesizers stand side by side, the generic network and the adapted one, and hold the same
references. The generic one draws until the faces in the LR stream are known to be the adapter's
(`gemino.identity`), and again from when they are not; and always at sizes of pictures at which the
adapter did not draw better on its owner's own video.
"""

import logging
from collections import deque
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from gemino.adapters import AdapterFile, Size
from gemino.config import REFERENCES_HELD, Sampling
from gemino.errors import ModelError
from gemino.frames import Frame
from gemino.identity import Watcher
from gemino.runtime.base import Drawing, Synthesizer
from gemino.runtime.origins import Origins

logger = logging.getLogger(__name__)


class _Adapted(NamedTuple):
    """What draws with an adapter, who knows its owner, and the sizes that it serves."""

    synthesizer: Synthesizer
    watcher: Watcher
    serves: AbstractSet[Size]


class GuardedSynthesizer:
    """The adapted network where the adapter's owner is seen and the size is served, else `generic`.

    There may be no adapter at first, and one that comes in mid-call is adopted then.
    """

    def __init__(self, generic: Synthesizer) -> None:
        self._generic = generic
        self._adapted: _Adapted | None = None
        self._known = False
        self._drawing = generic.drawings[0]
        self._sampling: Sampling | None = None
        self._references: deque[Frame] = deque(maxlen=REFERENCES_HELD)
        self.name, self.way = generic.name, generic.way
        self.output_px, self.drawings = generic.output_px, generic.drawings

    def adopt(self, personal: Synthesizer, adapter: AdapterFile) -> None:
        """Draw by `personal`, the generic model with `adapter`, from now on, where it is to be.

        Takes a second, beside the frames and on the thread that adds references. Raises ModelError
        where it cannot stand in for the generic one.
        """
        own, other = ([way.size_px for way in one.drawings] for one in (self._generic, personal))
        if own != other:
            raise ModelError(f"{personal.name}: {self._generic.way} runs no adapters; use torch")
        for reference in self._references:
            personal.add_reference(reference)
        personal.draw_as(personal.drawings[self.drawings.index(self._drawing)])
        if self._sampling is not None:
            personal.expect(self._sampling)
        self._known = False
        self._adapted = _Adapted(personal, Watcher(adapter.likeness), adapter.serves)
        self.name = personal.name

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
        self._references.append(reference)
        for one in self._both():
            one.add_reference(reference)

    def forget_references(self) -> None:
        """Hold none any more; somebody else may come."""
        self._references.clear()
        for one in self._both():
            one.forget_references()
        if self._adapted is not None:
            self._adapted.watcher.forget()
        self._known = False

    def watch(self, lr: Frame) -> None:
        """Every LR picture [s, s, 3] in order: look for cuts, and whose face it is."""
        for one in self._both():
            one.watch(lr)
        if self._adapted is None:
            return
        watcher = self._adapted.watcher
        former = watcher.verdict
        watcher.watch(lr)
        if watcher.verdict is False and former is not False:
            logger.warning(
                "the adapter %s is not used: the face in the stream is another one (%.2f alike)",
                self.name,
                watcher.alike,
            )
        self._known = bool(watcher.verdict)

    def expect(self, sampling: Sampling) -> None:
        """Make both ready, the one that will draw first."""
        self._sampling = sampling
        drawer = self._drawer(sampling)
        for one in (drawer, *(one for one in self._both() if one is not drawer)):
            one.expect(sampling)

    def ready(self, sampling: Sampling) -> bool:
        return self._drawer(sampling).ready(sampling)

    def draw_as(self, drawing: Drawing) -> None:
        """Draw in another way of `drawings`; ValueError for none of them."""
        at = self.drawings.index(drawing)
        for one in self._both():
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

    def _both(self) -> tuple[Synthesizer, ...]:
        adapted = self._adapted
        return (self._generic,) if adapted is None else (adapted.synthesizer, self._generic)

    def _drawer(self, sampling: Sampling) -> Synthesizer:
        """Who draws such pictures now. What a fovea bends was judged nowhere."""
        adapted, drawing = self._adapted, self._drawing
        if adapted is None or not self._known or sampling.fovea is not None:
            return self._generic
        own = drawing.model == self.drawings[0].model  # the lighter one has no adapter
        serves = own and Size(drawing.size_px, sampling.size_px) in adapted.serves
        return adapted.synthesizer if serves else self._generic
