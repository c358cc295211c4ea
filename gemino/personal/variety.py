"""Batches in more lights, colours and sizes than a person's video has.

An adapter that sees one room in one light learns that room: on another day colours fade that the
video did not have. So most examples are tinted, brightened or darkened, turned in hue and made
paler, target, reference and LR picture alike. What a matrix and a power do to each pixel by itself,
they may as well do behind the codec as before it. And now and then a picture is drawn smaller than
the video, because calls on slow machines are.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gemino.config import Rung
from gemino.frames import resize as resize_frame
from gemino.nn.blocks import resize
from gemino.nn.pictures import to_tensor
from gemino.training.clips import Batch, Sampler, Streams
from gemino.training.sequence import Sequence

SMALL_PX = 256
_SMALL = 0.2  # of all steps
_AS_FILMED = 0.4  # of all steps: in the light that there was
_GREY = (0.299, 0.587, 0.114)
_EXPOSURE, _TINT, _SATURATION, _POWER = (0.65, 1.2), (0.9, 1.1), (0.4, 1.3), (0.75, 1.35)
_TURNED, _TURNED_A_LITTLE = 0.1, 0.2  # so many by any hue; the others by a deviation of that, rad
_COLD, _COLD_HUE, _COLD_SATURATION, _COLD_POWER = (0.74, 0.8, 0.92), -0.3, 0.8, 1.15
_SALT = 7  # numbers of its own beside the sampler's


class VariedSampler(Sampler):
    """A `Sampler` whose batches are seen in other lights, and at other sizes."""

    def __init__(
        self, sequences: list[Sequence], batch: int, crop_px: int, seed: int, streams: Streams
    ) -> None:
        super().__init__(sequences, batch, crop_px, seed, streams=streams)

    def draw(self, step: int, part: int = 0) -> Batch:
        """Examples of `step`: follow from the seed and the step alone, as a sampler's do."""
        batch = super().draw(step, part)
        rng = np.random.default_rng([self.seed, step, _SALT, part])
        if rng.random() >= _AS_FILMED:
            batch = relit(batch, _light(rng))
        side = batch.target.shape[-1]
        if rng.random() < _SMALL and side > SMALL_PX:
            batch = smaller(batch, SMALL_PX)
        return batch


def relit(batch: Batch, light: Callable[[Tensor], Tensor]) -> Batch:
    """`batch` with all its pictures in another light."""
    return replace(
        batch,
        target=light(batch.target),
        reference=light(batch.reference),
        lr=light(batch.lr),
        reference_lr=light(batch.reference_lr),
    )


def smaller(batch: Batch, side: int) -> Batch:
    """`batch` with targets and references of `side` px, from the LR pictures that there are."""
    share = side / batch.target.shape[-1]
    crops = [
        (int(top * share), int(left * share), max(round(window * share), 1))
        for top, left, window in batch.crops
    ]
    small = resize(batch.target, side), resize(batch.reference, side)
    return replace(batch, target=small[0], reference=small[1], crops=crops)


def otherwise_lit(sequence: Sequence, rungs: tuple[Rung, ...]) -> Sequence:
    """`sequence` in a colder, darker light than it was filmed in, with those LR streams alone."""
    light = _relighting(_matrix(_COLD, _COLD_HUE, _COLD_SATURATION), _COLD_POWER)

    def relight(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen = [light(to_tensor([picture]))[0].permute(1, 2, 0).numpy() for picture in pictures]
        return np.stack([(x * 255 + 0.5).astype(np.uint8) for x in seen])

    return replace(
        sequence,
        name=f"{sequence.name}, relit",
        frames=relight(sequence.frames),
        references=relight(sequence.references),
        lr={rung: (relight(sequence.lr[rung][0]), sequence.lr[rung][1]) for rung in rungs},
    )


def shrunk(sequence: Sequence, side: int, rungs: tuple[Rung, ...]) -> Sequence:
    """`sequence` to be drawn at `side` px, with those LR streams alone."""

    def shrink(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.stack([resize_frame(np.ascontiguousarray(x), side) for x in pictures])

    return replace(
        sequence,
        name=f"{sequence.name}, {side} px",
        frames=shrink(sequence.frames),
        references=shrink(sequence.references),
        lr={rung: sequence.lr[rung] for rung in rungs},
    )


def _light(rng: Generator) -> Callable[[Tensor], Tensor]:
    """A change of light, drawn: hue, saturation, tint and exposure, and a power."""
    turned = rng.random() < _TURNED
    angle = rng.uniform(-math.pi, math.pi) if turned else rng.normal() * _TURNED_A_LITTLE
    gains = rng.uniform(*_EXPOSURE) * rng.uniform(*_TINT, 3)
    matrix = _matrix(gains, float(angle), float(rng.uniform(*_SATURATION)))
    return _relighting(matrix, float(rng.uniform(*_POWER)))


def _relighting(matrix: NDArray[np.float64], power: float) -> Callable[[Tensor], Tensor]:
    """A change of colours [B, 3, H, W] in 0..1, pixel by pixel."""
    weights = torch.from_numpy(matrix.astype(np.float32))

    def apply(pictures: Tensor) -> Tensor:
        mixed = torch.einsum("dc,bchw->bdhw", weights, pictures).clamp(0, 1) ** power
        return mixed.contiguous(memory_format=torch.channels_last)

    return apply


def _matrix(gains: ArrayLike, angle: float, saturation: float) -> NDArray[np.float64]:
    """What paling by `saturation`, turning the hue by `angle` and `gains` do to RGB, [3, 3]."""
    pale = saturation * np.eye(3) + (1 - saturation) * np.tile(_GREY, (3, 1))
    return np.asarray(np.diag(np.asarray(gains)) @ _hue(angle) @ pale)


def _hue(angle: float) -> NDArray[np.float64]:
    """Rotation of RGB around the grey axis (Rodrigues), [3, 3]."""
    cos, across = math.cos(angle), math.sin(angle) / math.sqrt(3)
    near, far, own = (1 - cos) / 3 - across, (1 - cos) / 3 + across, cos + (1 - cos) / 3
    return np.array([[own, near, far], [far, own, near], [near, far, own]])
