"""Whether an adapter is worth having, and where: generic and personal network, side by side.

Three views of the last part of the video are judged: as filmed; in another light, since a room's
colours are no part of a face; and drawn smaller, as slow machines do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gemino.adapters import Size
from gemino.config import Rung
from gemino.frames import Frame, resize
from gemino.nn.model import GeminoNet
from gemino.personal.variety import SMALL_PX, otherwise_lit, shrunk
from gemino.runtime.perceptual import load_lpips
from gemino.training.sequence import Sequence
from gemino.training.trainer import Rebuilt, rebuild

AS_FILMED, RELIT, SMALL = "as filmed", "in another light", "drawn smaller"
RELIT_RUNGS = (Rung("av1", 128, 8.0), Rung("av1", 128, 14.0))
SMALL_RUNGS = (Rung("av1", 64, 5.0), Rung("av1", 128, 8.0), Rung("av1", 192, 24.0))
LEAST_GAIN = 0.01
"""Of LPIPS, below which an adapter is not worth its bytes."""
_PICTURES = 4
_SHOWN = 2  # pictures of before and after

Views = Mapping[str, list[Sequence]]
"""What is judged, by how it is seen."""


class Case(NamedTuple):
    """How it is seen, how large it is drawn, and from which LR stream."""

    view: str
    output_px: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class Measured:
    """LPIPS of a network, means over takes. shown: pictures, for people."""

    lpips: Mapping[Case, float]
    shown: list[Rebuilt] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """LPIPS of both networks, means over takes; (generic, personal).

    rows: pictures for people, each LR upsampled, generic, personal, original.
    """

    lpips: Mapping[Case, tuple[float, float]]
    rows: list[list[Frame]] = field(default_factory=list, repr=False)

    @property
    def generic(self) -> float:
        """The mean over the cases."""
        return float(np.mean([before for before, _ in self.lpips.values()]))

    @property
    def personal(self) -> float:
        return float(np.mean([after for _, after in self.lpips.values()]))

    @property
    def gain(self) -> float:
        """What of the generic network's LPIPS is gone; negative where there is more."""
        return 1 - self.personal / self.generic

    @property
    def serves(self) -> frozenset[Size]:
        """The sizes at which the personal network draws better, in every view of them."""
        seen: dict[Size, dict[str, list[tuple[float, float]]]] = {}
        for case, pair in self.lpips.items():
            size = Size(case.output_px, case.rung.size_px)
            seen.setdefault(size, {}).setdefault(case.view, []).append(pair)
        return frozenset(size for size, views in seen.items() if all(map(_wins, views.values())))


def _wins(pairs: list[tuple[float, float]]) -> bool:
    before, after = np.sum(pairs, axis=0)
    return bool(after <= (1 - LEAST_GAIN) * before)


def views(sequences: list[Sequence]) -> Views:
    """What `sequences`, of the last part of a video, are judged as."""
    found = {AS_FILMED: sequences}
    found[RELIT] = [otherwise_lit(sequence, RELIT_RUNGS) for sequence in sequences]
    if sequences[0].frames.shape[1] > SMALL_PX:
        found[SMALL] = [shrunk(sequence, SMALL_PX, SMALL_RUNGS) for sequence in sequences]
    return found


def measure(network: GeminoNet, seen: Views) -> Measured:
    """What `network` draws of every case."""
    alex = load_lpips()
    lpips: dict[Case, float] = {}
    shown: list[Rebuilt] = []
    for view, sequences in seen.items():
        for at, rung in enumerate(sequences[0].lr):
            distances = []
            for sequence in sequences:
                drawn = rebuild(network, sequence, rung, _PICTURES)
                with torch.inference_mode():
                    distances.append(float(alex(drawn.shown, drawn.target).mean()))
                if (view, at) == (AS_FILMED, 1) and len(shown) < _SHOWN:
                    shown.append(drawn)
            lpips[Case(view, sequences[0].frames.shape[1], rung)] = float(np.mean(distances))
    return Measured(lpips, shown)


def compare(generic: Measured, personal: Measured) -> Verdict:
    """Both networks on the same views."""
    lpips = {case: (before, personal.lpips[case]) for case, before in generic.lpips.items()}
    rows = []
    for before, after in zip(generic.shown, personal.shown, strict=True):
        small = resize(_picture(before.lr), before.target.shape[-1])
        rows.append([small, *map(_picture, (before.shown, after.shown, before.target))])
    return Verdict(lpips, rows)


def _picture(x: Tensor) -> Frame:
    """The middle one of [B, 3, S, S] in 0..1."""
    middle = x[len(x) // 2].permute(1, 2, 0).float().cpu().numpy()
    return np.ascontiguousarray((middle * 255 + 0.5).astype(np.uint8))
