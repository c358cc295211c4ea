"""The references that a synthesizer holds, and what it has made ready of each.

What depends on a reference alone is computed once for each reference, LR size and size drawn,
beside the frames: a new reference is made ready for what is in use before any frame can choose it,
and all are made ready for another size before any frame is drawn at it.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from gemino.config import MIN_LR_PX, REFERENCES_HELD, Sampling
from gemino.frames import Frame, resize
from gemino.likeness import SAME_SCENE, SCENE_CHANGE, Thumbnail, difference, thumbnail

Features = TypeVar("Features")
_KEPT_SAMPLINGS = 2
"""A call hops between two neighbouring rungs; features of more would only fill memory."""
_CLEARLY = 0.92
"""Another reference must be so much more alike than the one in use: each change can be seen."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """picture: uint8 at the output's size."""

    number: int
    picture: Frame
    thumbnail: Thumbnail


_Key = tuple[Sampling, int, int]
"""Sampling, size drawn and number of a reference."""


class Choice(NamedTuple, Generic[Features]):
    """What a picture is to be made with.

    features: of the likest reference, made ready. gate_limit: how far the gates may open for it:
    0 where it shows another scene, else 1. size_px: side of the picture to draw.
    """

    features: Features
    gate_limit: float
    size_px: int


class Holding(Generic[Features]):
    """The newest `REFERENCES_HELD` references; several threads may use it at a time.

    prepare: makes a reference [S, S, 3] ready for a sampling and pictures of its own size, in one
    thread at a time. size_px: side of the pictures drawn at first.
    """

    def __init__(self, prepare: Callable[[Frame, Sampling], Features], size_px: int) -> None:
        self._prepare = prepare
        self._size_px = size_px
        self._lock = threading.Lock()  # of what is held; never kept for long
        self._preparing = threading.Lock()  # while a reference is encoded
        self._changing = threading.Lock()  # while one is added, or the size is changed
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

    def add(self, picture: Frame) -> None:
        """Hold `picture` [S, S, 3], of the output's size, for the pictures to come."""
        newest = _Reference(next(self._numbers), picture, thumbnail(picture))
        with self._changing:
            if self._sampling is not None:  # made ready before any frame can wait for it
                self._features(newest, self._sampling, self._size_px)
            with self._lock:
                self._references.append(newest)

    def draw_at(self, size_px: int) -> None:
        """Have pictures of this size drawn, once every reference is ready for it."""
        with self._changing:
            if self._sampling is not None:
                for reference in list(self._references):
                    self._features(reference, self._sampling, size_px)
            self._size_px = size_px

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
        size_px = self._size_px
        return Choice(self._features(reference, sampling, size_px), gate_limit, size_px)

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

    def _features(self, reference: _Reference, sampling: Sampling, size_px: int) -> Features:
        key = (sampling, size_px, reference.number)
        features = self._found(key)
        if features is None:
            with self._preparing:
                features = self._found(key)
                if features is None:
                    features = self._prepare(resize(reference.picture, size_px), sampling)
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


class HoldingSynthesizer(Generic[Features]):
    """What every network's synthesizer does with references, whichever runtime draws.

    drawable_px: sizes that the network can draw, the output's first.
    """

    def __init__(self, output_px: int, drawable_px: tuple[int, ...]) -> None:
        self.output_px = output_px
        self.drawable_px = drawable_px
        self._holding = Holding(self._prepare, output_px)

    @property
    def neural(self) -> bool:
        """Whether there is a reference to draw with."""
        return len(self._holding) > 0

    def add_reference(self, reference: Frame) -> None:
        """Hold `reference`, square RGB of any size, for the pictures to come."""
        self._holding.add(resize(reference, self.output_px))

    def forget_references(self) -> None:
        """Hold none any more."""
        self._holding.forget()

    def watch(self, lr: Frame) -> None:
        """Look for cuts: every LR picture [s, s, 3] in order, straightened, shown or not."""
        self._holding.watch(lr)

    def draw_at(self, size_px: int) -> None:
        """Have the network draw at another of `drawable_px`; takes a second, beside the frames.

        Raises ValueError for a size that is none of them.
        """
        if size_px not in self.drawable_px:
            raise ValueError(f"size_px must be one of {self.drawable_px}, not {size_px}")
        self._holding.draw_at(size_px)

    def _prepare(self, reference: Frame, sampling: Sampling) -> Features:
        """A reference of the size to be drawn, made ready for this sampling."""
        raise NotImplementedError
