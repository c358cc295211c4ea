"""The references that a synthesizer holds, and what it has made ready of each.

What depends on a reference alone is computed once for each reference, LR size and way to draw,
beside the frames: a new reference is made ready for what is in use before any frame can choose it,
and all are made ready for another way before any frame is drawn so.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from gemino.config import MIN_LR_PX, REFERENCES_HELD, Sampling
from gemino.frames import Frame, resize
from gemino.likeness import SAME_PICTURE, SAME_SCENE, SCENE_CHANGE, Thumbnail, difference, thumbnail
from gemino.runtime.base import Drawing

Features = TypeVar("Features")
_KEPT_SAMPLINGS = 2
"""A call hops between two neighbouring rungs; features of more would only fill memory."""
_GREY = 128
_CLEARLY = 0.92
"""Another reference must be so much more alike than the one in use: each change can be seen."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """picture: uint8 at the output's size."""

    number: int
    picture: Frame
    thumbnail: Thumbnail


_Key = tuple[Sampling, Drawing, int]
"""Sampling, way to draw and number of a reference."""


class Choice(NamedTuple, Generic[Features]):
    """What a picture is to be made with.

    features: of the likest reference, made ready. gate_limit: how far the gates may open for it:
    0 where it shows another scene, else 1. drawing: how to draw.
    """

    features: Features
    gate_limit: float
    drawing: Drawing


class Holding(Generic[Features]):
    """The newest `REFERENCES_HELD` references; several threads may use it at a time.

    prepare: makes a reference [S, S, 3], of the size to be drawn, ready for a sampling and a way to
    draw, in one thread at a time. drawing: the way at first.
    """

    def __init__(
        self, prepare: Callable[[Frame, Sampling, Drawing], Features], drawing: Drawing
    ) -> None:
        self._prepare = prepare
        self._drawing = drawing
        self._lock = threading.Lock()  # of what is held; never kept for long
        self._preparing = threading.Lock()  # while a reference is encoded
        self._changing = threading.Lock()  # while one is added, or the way is changed
        self._references: deque[_Reference] = deque(maxlen=REFERENCES_HELD)
        self._numbers = count()
        self._chosen = -1
        self._previous: Thumbnail | None = None
        self._cut = False  # one came by since references are held
        self._of_scene: set[int] = set()  # references that a picture since then was like
        self._sampling: Sampling | None = None
        self._ready: OrderedDict[_Key, Features] = OrderedDict()

    def __len__(self) -> int:
        """How many are held."""
        return len(self._references)

    @property
    def lacking(self) -> bool:
        """Whether a cut has come by, and no reference was like a picture since."""
        with self._lock:
            return self._cut and not self._of_scene

    def add(self, picture: Frame) -> None:
        """Hold `picture` [S, S, 3], of the output's size, for the pictures to come.

        It takes the place of one that shows the same: the finer coding follows the coarse one.
        """
        newest = _Reference(next(self._numbers), picture, thumbnail(picture))
        with self._changing:
            if self._sampling is not None:  # made ready before any frame can wait for it
                self._features(newest, self._sampling, self._drawing)
            with self._lock:
                self._replace(newest)
                held = {each.number for each in self._references}
                for key in [key for key in self._ready if key[2] not in held]:
                    del self._ready[key]

    def _replace(self, newest: _Reference) -> None:
        same = [
            each
            for each in self._references
            if difference(each.thumbnail, newest.thumbnail) <= SAME_PICTURE
        ]
        for each in same:
            self._references.remove(each)
            if each.number in self._of_scene:
                self._of_scene.add(newest.number)
            if each.number == self._chosen:
                self._chosen = newest.number
        self._references.append(newest)

    def expect(self, sampling: Sampling) -> None:
        """Make every reference ready for LR pictures of this kind, the one in use first.

        Without a reference what else there is to be made ready is, with a grey one.
        """
        with self._changing:
            if sampling.size_px < MIN_LR_PX:
                return
            held = sorted(self._references, key=lambda each: each.number != self._chosen)
            if not held:
                size_px = self._drawing.size_px
                grey = np.full((size_px, size_px, 3), _GREY, np.uint8)
                with self._preparing:
                    self._prepare(grey, sampling, self._drawing)
            for reference in held:
                self._features(reference, sampling, self._drawing)
            self._sampling = sampling

    def ready(self, sampling: Sampling) -> bool:
        """Whether a picture of this kind finds the reference in use ready, or none is held."""
        with self._lock:
            references = list(self._references)
        numbers = {each.number for each in references}
        number = self._chosen if self._chosen in numbers else max(numbers, default=None)
        return number is None or self._found((sampling, self._drawing, number)) is not None

    def draw_as(self, drawing: Drawing) -> None:
        """Have pictures drawn in this way, once every reference is ready for it."""
        with self._changing:
            if self._sampling is not None:
                for reference in list(self._references):
                    self._features(reference, self._sampling, drawing)
            self._drawing = drawing

    def forget(self) -> None:
        """Hold none any more."""
        with self._lock:
            self._references.clear()
            self._ready.clear()
            self._of_scene.clear()
            self._previous, self._cut = None, False

    def watch(self, lr: Frame) -> None:
        """Look for cuts: every LR picture [s, s, 3] in order, straightened, shown or not."""
        seen = thumbnail(lr)
        with self._lock:
            previous, self._previous = self._previous, seen
            if previous is not None and difference(seen, previous) > SCENE_CHANGE:
                self._cut = True
                self._of_scene.clear()
            # Only of those still held: however many a peer sends, this stays small.
            self._of_scene = {
                r.number
                for r in self._references
                if r.number in self._of_scene or difference(seen, r.thumbnail) <= SAME_SCENE
            }

    def choose(self, lr: Frame, sampling: Sampling) -> Choice[Features] | None:
        """The reference that is most like `lr` [s, s, 3], straightened.

        None where nothing is held, or `lr` is too small for a network.
        """
        likest = self._likest(lr)
        if likest is None or sampling.size_px < MIN_LR_PX:
            return None
        reference, gate_limit = likest
        self._sampling = sampling
        drawing = self._drawing
        return Choice(self._features(reference, sampling, drawing), gate_limit, drawing)

    def _likest(self, lr: Frame) -> tuple[_Reference, float] | None:
        """The reference that is most like `lr`; the last one chosen unless another is better.

        And 0 where a cut lies between it and `lr`, else 1.
        """
        with self._lock:
            references, of_scene = list(self._references), set(self._of_scene)
            cut = self._cut
        last = self._chosen
        if not references:
            return None
        seen = thumbnail(lr)
        unlike = {r.number: difference(seen, r.thumbnail) for r in references}
        fitting = [
            r
            for r in references
            if not cut or r.number in of_scene or unlike[r.number] <= SAME_SCENE
        ]
        among = fitting or references
        best = min(among, key=lambda r: unlike[r.number])
        if last in unlike and unlike[best.number] > _CLEARLY * unlike[last]:
            best = next((r for r in among if r.number == last), best)
        self._chosen = best.number
        return best, 1.0 if fitting else 0.0

    def _features(self, reference: _Reference, sampling: Sampling, drawing: Drawing) -> Features:
        key = (sampling, drawing, reference.number)
        features = self._found(key)
        if features is None:
            with self._preparing:
                features = self._found(key)
                if features is None:
                    picture = resize(reference.picture, drawing.size_px)
                    features = self._prepare(picture, sampling, drawing)
                    self._keep(key, features)
        return features

    def _found(self, key: _Key) -> Features | None:
        with self._lock:
            if key in self._ready:
                self._ready.move_to_end(key)
            return self._ready.get(key)

    def _keep(self, key: _Key, features: Features) -> None:
        with self._lock:
            self._ready[key] = features
            if len(self._ready) > _KEPT_SAMPLINGS * REFERENCES_HELD:
                self._ready.popitem(last=False)
