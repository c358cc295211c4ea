"""What the network is asked for.

    L1 over the whole picture                         colours and shapes
    LPIPS in a window drawn where the clip moves,     textures
    or in a smaller one on the face, enlarged         eyes, mouths
    L1 of the reference's low-pass, moved by the flow motion gets a signal of its own, at 64 px
                                                      and at 1/4 scale, before gates open

LPIPS with AlexNet's features is the figure we are judged by; with VGG16's (where weights are
given) it has smoother gradients and keeps the first from being gamed with grid patterns. That
term costs as much as all the rest of a step together, so only every few steps pay for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gemino.nn.blocks import resize
from gemino.nn.generator import ReferenceFeatures, Synthesis
from gemino.nn.lpips import Lpips
from gemino.nn.motion import FLOW_PX
from gemino.nn.warp import warp
from gemino.training.clips import Batch


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What each term counts for; a term of weight 0 is not computed.

    lpips_vgg counts in one step of `vgg_every`.
    """

    l1: float = 2.0
    lpips_alex: float = 1.0
    lpips_vgg: float = 0.6
    vgg_every: int = 4
    motion: float = 1.0


class Losses:
    """The sum of all terms, and each one's mean for the log."""

    def __init__(
        self, weights: LossWeights, crop_px: int, vgg_px: int, alex: Lpips, vgg: Lpips | None
    ) -> None:
        self.weights, self.crop_px, self.vgg_px = weights, crop_px, vgg_px
        self.alex, self.vgg = alex, vgg

    def __call__(
        self, batch: Batch, features: ReferenceFeatures, synthesis: Synthesis, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss of `step` with gradient, and {term: mean} without."""
        terms = {"l1": (synthesis.frame - batch.target).abs().mean() * self.weights.l1}
        if self.weights.motion:
            terms["motion"] = self._motion(batch, features, synthesis) * self.weights.motion
        shown = _windows(synthesis.frame, batch.crops, self.crop_px)
        wanted = _windows(batch.target, batch.crops, self.crop_px)
        if self.weights.lpips_alex:
            distance = (self.alex(shown, wanted) * batch.weight).mean()
            terms["lpips_alex"] = distance * self.weights.lpips_alex
        if self.vgg is not None and step % self.weights.vgg_every == 0:
            inner = (self.crop_px - self.vgg_px) // 2
            middle = slice(inner, inner + self.vgg_px)
            distance = self.vgg(shown[..., middle, middle], wanted[..., middle, middle])
            terms["lpips_vgg"] = (distance * batch.weight).mean() * self.weights.lpips_vgg
        total = torch.stack(list(terms.values())).sum()
        return total, {name: float(term.detach()) for name, term in terms.items()}

    def _motion(self, batch: Batch, features: ReferenceFeatures, synthesis: Synthesis) -> Tensor:
        """How well each flow alone explains the (clean) target from the reference's low-pass."""
        quarter = resize(batch.target, features.low.shape[-1])
        fine = (warp(features.low, synthesis.aligned.flow) - quarter).abs().mean()
        small = warp(resize(features.low, FLOW_PX), synthesis.aligned.flow64)
        return fine + (small - resize(batch.target, FLOW_PX)).abs().mean()


def _windows(pictures: Tensor, crops: list[tuple[int, int, int]], side: int) -> Tensor:
    """One window (top, left, its side) of each picture, all resized to [B, 3, side, side]."""
    return torch.cat(
        [
            resize(picture[None, :, top : top + window, left : left + window], side)
            for picture, (top, left, window) in zip(pictures, crops, strict=True)
        ]
    )
