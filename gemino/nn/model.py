"""The whole network and its one dial.

What is unusual about it:

- the reference is encoded once (`encode_reference`), not with every frame, and nothing is cached
  on the module: the caller holds `ReferenceFeatures`;
- motion comes from the two low-resolution pictures; no keypoints travel;
- one network serves every LR size and bitrate: it is told the rung;
- almost all arithmetic happens at 1/8 and 1/4 of the output's size;
- fully convolutional: the same weights give any output of 256 to 1024 px (a multiple of 8).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gemino.config import ModelConfig
from gemino.nn.blocks import planar, resize
from gemino.nn.generator import (
    SCALE,
    Aligned,
    Generator,
    ReferenceEncoder,
    ReferenceFeatures,
    Synthesis,
    Views,
    look,
)
from gemino.nn.motion import MotionEstimator, Pyramid
from gemino.rate import rung_vector

__all__ = ["WIDTHS", "GeminoNet", "Widths", "build", "count_macs", "rung_vector"]


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels at 1/4 and 1/8 scale, and residual blocks there."""

    width4: int
    width8: int
    blocks4: int
    blocks8: int


WIDTHS = {
    "xs": Widths(16, 20, 1, 1),
    "s": Widths(32, 64, 2, 2),
    "l": Widths(64, 128, 2, 4),
}


class GeminoNet(nn.Module):
    """The multi-scale, high-frequency-conditional super-resolution network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = WIDTHS[config.size]
        self.config = config
        self.motion = MotionEstimator()
        self.reference = ReferenceEncoder(widths.width4, widths.width8)
        self.generator = Generator(widths.width4, widths.width8, widths.blocks4, widths.blocks8)

    def encode_reference(self, reference: Tensor, lr: Tensor) -> ReferenceFeatures:
        """Everything that depends on the reference [B, 3, S, S] and its sampling alone.

        `lr` [B, 3, s, s]: what an LR picture of it shows (`gemino.sampling.glimpse`). Raises
        ValueError where S is not a multiple of 8 in 128..1024.
        """
        size = reference.shape[-1]
        if reference.shape[-2] != size or size % 8 or not 128 <= size <= 1024:
            raise ValueError(f"a reference is square, a multiple of 8 in 128..1024, not {size}")
        lr = planar(lr)
        views = look(lr, size)
        quarter, eighth, pyramid = self.encode_small(reference, views.coarse, views.quarter)
        return ReferenceFeatures(quarter, eighth, planar(reference) - resize(lr, size), pyramid)

    def encode_small(
        self, reference: Tensor, coarse: Tensor, low: Tensor
    ) -> tuple[Tensor, Tensor, Pyramid]:
        """What is not at full scale of a reference's features (`ReferenceFeatures`).

        coarse, low: its LR picture at 128 px and at a quarter of its side.
        """
        quarter, eighth = self.reference(reference)
        return (
            torch.cat([planar(quarter), low], dim=1),
            torch.cat([planar(eighth), resize(low, low.shape[-1] // 2)], dim=1),
            self.motion.pyramid(coarse),
        )

    def synthesize(self, features: ReferenceFeatures, lr: Tensor, rung: Tensor) -> Tensor:
        """The full picture [B, 3, S, S] in 0..1 for `lr` [B, 3, s, s] and `rung` [B, 2]."""
        return self.explain(features, lr, rung).frame

    def explain(
        self,
        features: ReferenceFeatures,
        lr: Tensor,
        rung: Tensor,
        gate_limit: float | Tensor = 1.0,
    ) -> Synthesis:
        """`synthesize`, with flow and gates. gate_limit 0 shuts the reference out."""
        aligned = self.align(features, lr, rung, gate_limit)
        return Synthesis(self.generator(features, lr, aligned), aligned)

    def contributions(
        self,
        features: ReferenceFeatures,
        lr: Tensor,
        rung: Tensor,
        gate_limit: float | Tensor,
        cells: int,
    ) -> Tensor:
        """What the reference and the residual add to the upsampled `lr`, [B, 2, cells, cells].

        Standard deviations, 0..1, over the pixels of each cell.
        """
        frame, aligned = self.explain(features, lr, rung, gate_limit)
        carried = self.generator.carried(features, aligned)
        drawn = frame - resize(planar(lr), frame.shape[-1]) - carried
        layers = torch.stack([carried, drawn], dim=1).flatten(0, 1)
        mean, squares = (functional.adaptive_avg_pool2d(x, cells) for x in (layers, layers**2))
        deviation = (squares - mean**2).clamp(min=0).sqrt().mean(1)
        return deviation.view(-1, 2, cells, cells)

    def align(
        self,
        features: ReferenceFeatures,
        lr: Tensor,
        rung: Tensor,
        gate_limit: float | Tensor = 1.0,
    ) -> Aligned:
        """The first half of a synthesis: flow, gate, and features to draw with."""
        views = look(lr, SCALE * features.quarter.shape[-1])
        return self.align_views(features, views, rung, gate_limit)

    def align_views(
        self,
        features: ReferenceFeatures,
        views: Views,
        rung: Tensor,
        gate_limit: float | Tensor = 1.0,
    ) -> Aligned:
        """`align`, from the LR picture's views."""
        coarse = self.motion(self.motion.pyramid(views.coarse), features.pyramid)
        return self.generator.align(features, views, rung, coarse, gate_limit)

    # nn.Module wants a forward; for counting and export it is one frame.
    forward = synthesize


def build(config: ModelConfig) -> GeminoNet:
    """An untrained network of `config.size`, ready for weights."""
    return GeminoNet(config)


def count_macs(model: GeminoNet, output_px: int, lr_px: int) -> int:
    """Multiply-accumulates of one frame's convolutions and products, the reference left out."""
    with torch.inference_mode():
        lr = torch.rand(1, 3, lr_px, lr_px)
        features = model.encode_reference(torch.rand(1, 3, output_px, output_px), lr)
        with FlopCounterMode(display=False) as counter:
            model.synthesize(features, lr, torch.zeros(1, 2))
    return int(counter.get_total_flops()) // 2
