"""Whether an adapter is worth having: generic and personal network, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gemino.config import Rung
from gemino.frames import Frame, resize
from gemino.nn.model import GeminoNet
from gemino.runtime.perceptual import load_lpips
from gemino.training.degrade import Sequence
from gemino.training.trainer import rebuild

_PICTURES = 8
_SHOWN = 2  # pictures of before and after


@dataclass(frozen=True, slots=True)
class Verdict:
    """LPIPS of both networks, means over takes, by LR stream; (generic, personal).

    rows: pictures for people, each LR upsampled, generic, personal, original.
    """

    lpips: Mapping[Rung, tuple[float, float]]
    rows: list[list[Frame]] = field(default_factory=list, repr=False)

    @property
    def generic(self) -> float:
        """The mean over the streams."""
        return float(np.mean([before for before, _ in self.lpips.values()]))

    @property
    def personal(self) -> float:
        return float(np.mean([after for _, after in self.lpips.values()]))

    @property
    def gain(self) -> float:
        """What of the generic network's LPIPS is gone; negative where there is more."""
        return 1 - self.personal / self.generic


def judge(generic: GeminoNet, personal: GeminoNet, sequences: list[Sequence]) -> Verdict:
    """Compare both on every stream of `sequences`, which all have the same."""
    alex = load_lpips()
    lpips: dict[Rung, tuple[float, float]] = {}
    rows: list[list[Frame]] = []
    rungs = list(sequences[0].lr)
    for rung in rungs:
        distances = []
        for sequence in sequences:
            before = rebuild(generic, sequence, rung, _PICTURES)
            after = rebuild(personal, sequence, rung, _PICTURES)
            with torch.inference_mode():
                pair = [float(alex(x.shown, x.target).mean()) for x in (before, after)]
            distances.append(pair)
            if rung == rungs[1] and len(rows) < _SHOWN:
                side = before.target.shape[-1]
                small = resize(_picture(before.lr), side)
                shown = [_picture(x) for x in (before.shown, after.shown, before.target)]
                rows.append([small, *shown])
        mean = np.mean(distances, axis=0)
        lpips[rung] = (float(mean[0]), float(mean[1]))
    return Verdict(lpips, rows)


def _picture(x: Tensor) -> Frame:
    """The middle one of [B, 3, S, S] in 0..1."""
    middle = x[len(x) // 2].permute(1, 2, 0).float().cpu().numpy()
    return np.ascontiguousarray((middle * 255 + 0.5).astype(np.uint8))
