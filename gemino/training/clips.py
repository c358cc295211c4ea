"""From sequences to batches.

Every example follows from the seed, the step and its place among the step's examples alone. A
resumed training therefore meets the very batches that the uninterrupted one would have met, and
four examples are the same four whether one process sees them at once, or in two parts, or two
processes share them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from gemino.config import FOVEA_GRID, LrCodec, Rung
from gemino.nn.model import rung_vector
from gemino.nn.pictures import to_tensor
from gemino.sampling import glimpse, straighten
from gemino.training.sequence import ACTIVITY_PX, Sequence, SequenceSettings, View


class StreamKind(NamedTuple):
    """An LR stream's codec, the side of its pictures, and whether they have a fovea."""

    codec: LrCodec
    size_px: int
    foveated: bool = False


Streams = Mapping[StreamKind, tuple[float, tuple[float, ...]]]
"""How often a batch has this kind of LR stream, and the nominal kbps to draw from."""

# From each codec's floor up to where the next size takes over.
STREAMS: Streams = {
    StreamKind("vp8", 64): (0.02, (5.0, 8.0)),
    StreamKind("vp8", 128): (0.12, (9.0, 12.0, 15.0, 20.0)),
    StreamKind("vp8", 192): (0.03, (13.0, 18.0, 26.0)),
    StreamKind("vp8", 256): (0.05, (22.0, 32.0, 50.0)),
    StreamKind("av1", 64): (0.03, (5.0, 7.0)),
    StreamKind("av1", 128): (0.38, (6.0, 8.0, 11.0, 15.0)),
    StreamKind("av1", 192): (0.09, (9.0, 12.0, 16.0, 24.0)),
    StreamKind("av1", 256): (0.16, (12.0, 20.0, 30.0, 45.0)),
    StreamKind("av1", 128, foveated=True): (0.08, (6.0, 8.0, 11.0, 15.0)),
    StreamKind("av1", 192, foveated=True): (0.04, (10.0, 16.0, 26.0)),
}
_DISTURBED = 0.4
_ON_FACE = 0.35
_FACE_WINDOW = 0.5
"""A window on the face has so much of the ordinary one's side, and is enlarged: eyes are small."""
_SHIFT_X, _SHIFT_Y, _SHIFT_RADIUS = 2, 2, 1  # at most, in 1/32: a face moves before a fovea does
_TWO_RATES_PX = 128  # the size that most calls have: two streams of each clip instead of one


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's examples: tensors are float32 0..1.

    target, reference [B, 3, S, S]; lr, reference_lr [B, 3, s, s]: LR pictures of both, the
    latter uncoded; rung [B, 2]; crops: for each example (top, left, side) of a window, drawn
    where its clip moves or on the face; weight [B]: 0..1, less for soft footage.
    """

    target: Tensor
    reference: Tensor
    lr: Tensor
    reference_lr: Tensor
    rung: Tensor
    crops: list[tuple[int, int, int]]
    weight: Tensor

    def to(self, device: str) -> "Batch":
        """The same batch on `device`."""
        tensors = (self.target, self.reference, self.lr, self.reference_lr, self.rung, self.weight)
        target, reference, lr, reference_lr, rung, weight = (
            x.to(device, non_blocking=True) for x in tensors
        )
        return Batch(target, reference, lr, reference_lr, rung, self.crops, weight)


def draw_settings(output_px: int, view: int, rng: Generator) -> SequenceSettings:
    """Settings of a clip's `view`-th sequence: the first plain, others zoomed and tinted."""
    drawn = [
        (kind.foveated, Rung(kind.codec, kind.size_px, float(kbps)))
        for kind, (_, rates) in STREAMS.items()
        for kbps in rng.choice(rates, size=2 if kind.size_px == _TWO_RATES_PX else 1, replace=False)
    ]
    even = tuple(rung for foveated, rung in drawn if not foveated)
    closer = tuple(rung for foveated, rung in drawn if foveated)
    most = (_SHIFT_X, _SHIFT_Y, _SHIFT_RADIUS)
    x, y, radius = (int(rng.integers(-shift, shift + 1)) for shift in most)
    if view == 0:
        return SequenceSettings(output_px, even, closer, (x, y, radius))
    exposure = rng.uniform(0.8, 1.15)
    red, green, blue = (float(exposure * gain) for gain in rng.uniform(0.94, 1.06, 3))
    zoomed = View(
        zoom=float(rng.uniform(0.68, 0.95)),
        shift_x=float(rng.uniform(-0.6, 0.6)),
        shift_y=float(rng.uniform(-0.8, 0.6)),
        gains=(red, green, blue),
    )
    return SequenceSettings(output_px, even, closer, (x, y, radius), zoomed)


class Sampler:
    """Draws batches from sequences: `parts` a step, each worker (`rank`) its own."""

    def __init__(
        self,
        sequences: list[Sequence],
        batch: int,
        crop_px: int,
        seed: int,
        rank: int = 0,
        parts: int = 1,
        streams: Streams = STREAMS,
    ) -> None:
        self.sequences = sequences
        self.batch = batch
        self.crop_px = crop_px
        self.seed = seed
        self.rank = rank
        self.parts = parts
        sharpness = np.array([sequence.sharpness for sequence in sequences])
        # Soft footage teaches softness: its textures count for less.
        typical = max(float(np.median(sharpness)), 1e-3)
        self._weights = np.clip(sharpness / typical, 0.3, 1.0)
        lengths = np.array([len(sequence.frames) for sequence in sequences], float)
        self._odds = np.sqrt(lengths) / np.sqrt(lengths).sum()
        self._streams = list(streams)
        odds = np.array([odds for odds, _ in streams.values()])
        self._stream_odds = odds / odds.sum()

    def draw(self, step: int, part: int = 0) -> Batch:
        """Examples of `step`: the `part`-th batch, 0..parts - 1, of this worker's."""
        # All workers draw the same LR size: they wait for one another, and sizes cost unequally.
        shared = np.random.default_rng([self.seed, step])
        kind = self._streams[shared.choice(len(self._streams), p=self._stream_odds)]
        first = (self.rank * self.parts + part) * self.batch
        rows = [self._example(step, first + row, kind) for row in range(self.batch)]
        return Batch(
            target=to_tensor([row[0] for row in rows]),
            reference=to_tensor([row[1] for row in rows]),
            lr=to_tensor([row[2] for row in rows]),
            reference_lr=to_tensor([row[3] for row in rows]),
            rung=torch.tensor([row[4] for row in rows], dtype=torch.float32),
            crops=[row[5] for row in rows],
            weight=torch.tensor([row[6] for row in rows], dtype=torch.float32),
        )

    def _example(
        self, step: int, place: int, kind: StreamKind
    ) -> tuple[
        NDArray[np.uint8],
        NDArray[np.uint8],
        NDArray[np.uint8],
        NDArray[np.uint8],
        list[float],
        tuple[int, int, int],
        float,
    ]:
        # From 1, since zeros at the end do not count: place 0 would draw as the step itself does.
        rng = np.random.default_rng([self.seed, step, 1 + place])
        which = int(rng.choice(len(self.sequences), p=self._odds))
        sequence = self.sequences[which]
        rungs = [rung for rung in sequence.lr if _kind(rung) == kind]
        rung = rungs[rng.integers(len(rungs))]
        pictures, levels = sequence.lr[rung]
        at = int(rng.integers(len(sequence.frames)))
        target = sequence.frames[at]
        reference = _disturb(rng, sequence.references[rng.integers(len(sequence.references))])
        lr = straighten(np.ascontiguousarray(pictures[at]), rung.fovea)
        reference_lr = glimpse(np.ascontiguousarray(reference), rung.sampling)
        crop = self._crop(rng, sequence, target.shape[0])
        if rng.random() < 0.5:
            seen = (target, reference, lr, reference_lr)
            target, reference, lr, reference_lr = (x[:, ::-1] for x in seen)
            crop = (crop[0], target.shape[0] - crop[2] - crop[1], crop[2])
        vector = rung_vector(rung.size_px, float(levels[at]), target.shape[0])
        return target, reference, lr, reference_lr, vector, crop, float(self._weights[which])

    def _crop(self, rng: Generator, sequence: Sequence, side: int) -> tuple[int, int, int]:
        """A window (top, left, side): a small one on the face, around a place that moves, or
        anywhere."""
        kind = rng.random()
        if kind < _ON_FACE and sequence.face is not None:
            face = sequence.face
            reach = face.radius / FOVEA_GRID
            centre = np.array([face.y, face.x]) / FOVEA_GRID + rng.uniform(-reach, reach, 2)
            return self._around(centre, round(self.crop_px * _FACE_WINDOW), side)
        odds = sequence.activity.ravel().astype(np.float64)
        total = float(odds.sum())
        if kind > (1 + _ON_FACE) / 2 or not total:  # a still clip moves nowhere
            edge = self.crop_px / 2 / side
            return self._around(rng.uniform(edge, 1 - edge, 2), self.crop_px, side)
        place = divmod(int(rng.choice(odds.size, p=odds / total)), ACTIVITY_PX)
        return self._around((np.array(place) + 0.5) / ACTIVITY_PX, self.crop_px, side)

    def _around(self, centre: NDArray[np.float64], window: int, side: int) -> tuple[int, int, int]:
        """The window around `centre` (row, column in 0..1) that lies inside the picture."""
        top, left = np.clip(np.round(centre * side - window / 2), 0, side - window).astype(int)
        return int(top), int(left), window


def _kind(rung: Rung) -> StreamKind:
    return StreamKind(rung.codec, rung.size_px, rung.fovea is not None)


def _disturb(rng: Generator, reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`reference` as if the camera had moved since, or the light changed; two of five times.

    The clips are short and steady: without this, large motion would hardly be seen.
    """
    if rng.random() >= _DISTURBED:
        return reference
    side = reference.shape[0]
    matrix = cv2.getRotationMatrix2D(
        (side / 2, side / 2), float(rng.uniform(-6, 6)), float(rng.uniform(0.88, 1.12))
    )
    matrix[:, 2] += rng.uniform(-0.08, 0.08, 2) * side
    moved = cv2.warpAffine(reference, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    gains = rng.uniform(0.93, 1.07) * rng.uniform(0.97, 1.03, 3)
    return np.asarray(np.clip(moved * gains.astype(np.float32), 0, 255), np.uint8)
