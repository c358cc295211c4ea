"""From a low-resolution picture, a reference and the motion between them to the full picture.

    output = upsampled LR  +  gate x warped high-frequency band  +  residual

The *high-frequency band* is what the reference loses on its way through the same LR size; warped
along the motion, it brings skin, hair and cloth back at full scale at the cost of one warp of
three channels. The *residual* is drawn by convolutions at 1/8 and 1/4 of the output's size (all
the arithmetic lives there) from the LR picture and the warped features of the reference.

What the reference contributes is multiplied by a gate at each scale, 0 where the warp cannot be
trusted (a hand comes in, a mouth opens). With all gates at 0 this is an ordinary super-resolver:
nothing of the reference reaches the output by any other way.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from gemino.nn import motion
from gemino.nn.blocks import (
    Convolution,
    GateHead,
    Modulation,
    ResidualBlock,
    conv,
    inner,
    join,
    planar,
    resize,
)
from gemino.nn.warp import warp

RUNG_INPUTS = 2
SCALE = 4
"""The learned part works at 1/4 of the output's side and below."""
_BLOCK = 3 * SCALE * SCALE  # a full-scale picture, seen at 1/4 scale
_LR_CELL = 2  # an LR picture may have half the output's side: 2x2 of its pixels at 1/4 scale
_TRUST = 16


class ReferenceFeatures(NamedTuple):
    """What is computed once per reference and LR size; S is the output's side.

    quarter [B, C4 + 3, S/4, S/4], eighth [B, C8 + 3, S/8, S/8]: learned features, and behind them
    the reference as its own LR picture shows it; float32, plane after plane, ready to be warped.
    band [B, 3, S, S]: the high-frequency band. pyramid: its motion features.
    """

    quarter: Tensor
    eighth: Tensor
    band: Tensor
    pyramid: motion.Pyramid

    @property
    def low(self) -> Tensor:
        """[B, 3, S/4, S/4]: the reference as its own LR picture shows it."""
        return self.quarter[:, -3:]


class Views(NamedTuple):
    """An LR picture at the sizes at which the network looks at it, whatever its own.

    coarse [B, 3, 128, 128], quarter [B, 3, S/4, S/4], half [B, 3, S/2, S/2].
    """

    coarse: Tensor
    quarter: Tensor
    half: Tensor


def look(lr: Tensor, size_px: int) -> Views:
    """The views of `lr` [B, 3, s, s] for an output of side `size_px`."""
    coarse = resize(lr, motion.INPUT_PX)
    return Views(coarse, resize(lr, size_px // SCALE), resize(lr, _LR_CELL * size_px // SCALE))


class Aligned(NamedTuple):
    """What is known before anything is drawn at full scale.

    flow64 [B, 2, 64, 64], flow [B, 2, S/4, S/4]: fractions of the picture. gate [B, 1, S/4, S/4]
    in 0..1: how much of the high-frequency band to carry over. fused [B, C4, S/4, S/4].
    """

    flow64: Tensor
    flow: Tensor
    gate: Tensor
    fused: Tensor


class Synthesis(NamedTuple):
    """A synthesised picture [B, 3, S, S] in 0..1, with what training and inspection look at."""

    frame: Tensor
    aligned: Aligned


class ReferenceEncoder(nn.Module):
    """Learned features of the reference at 1/4 and 1/8 scale."""

    def __init__(self, width4: int, width8: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(
            conv(_BLOCK, width4), nn.ReLU(), ResidualBlock(width4), ResidualBlock(width4)
        )
        self.eighth = nn.Sequential(
            nn.ReLU(), conv(width4, width8, stride=2), nn.ReLU(), ResidualBlock(width8)
        )

    def forward(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(functional.pixel_unshuffle(reference - 0.5, SCALE))
        return quarter, self.eighth(quarter)


class Generator(nn.Module):
    """Fuses target and warped reference; see the essay above.

    In two halves, `align` and `draw`, with the warp of the band at full scale between them: what
    happens there is no business of convolutions, and on a CPU another library does it faster.
    """

    def __init__(self, width4: int, width8: int, blocks4: int, blocks8: int) -> None:
        super().__init__()
        self.target4 = conv(3 * _LR_CELL * _LR_CELL, width4)
        self.modulate4 = Modulation(RUNG_INPUTS, width4)
        self.target8 = conv(width4, width8, stride=2)
        self.modulate8 = Modulation(RUNG_INPUTS, width8)

        self.refine8 = nn.Sequential(
            conv(2 * width8 + motion.HIDDEN + 3, 32, kernel=1), nn.ReLU(), conv(32, 32), nn.ReLU()
        )
        self.flow8 = conv(32, 2)
        self.trust8 = conv(32, _TRUST, kernel=1)
        self.gate8 = GateHead(_TRUST, 1, 1)

        self.refine4 = nn.Sequential(
            conv(2 * width4 + _TRUST + 3, 16, kernel=1), nn.ReLU(), conv(16, 16), nn.ReLU()
        )
        self.flow4 = conv(16, 2)
        self.gate4 = GateHead(_TRUST, 1, 2)

        self.fuse8 = conv(2 * width8, width8, kernel=1)
        self.body8 = nn.Sequential(*(ResidualBlock(width8) for _ in range(blocks8)))
        self.up8 = conv(width8, 4 * width4, kernel=1)
        self.fuse4 = conv(3 * width4, width4, kernel=1)
        self.band4 = Convolution(3, width4, SCALE, stride=SCALE, bias=False)
        self.body4 = nn.Sequential(*(ResidualBlock(width4) for _ in range(blocks4)))
        self.residual = conv(width4, _BLOCK)
        with torch.no_grad():  # the first picture of all is upsampled LR + gated band, no noise
            for layer in (self.flow8, self.flow4, self.residual):
                nn.init.zeros_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, reference: ReferenceFeatures, lr: Tensor, aligned: Aligned) -> Tensor:
        """The picture [B, 3, S, S] in 0..1 for `lr` [B, 3, s, s]."""
        size = reference.band.shape[-1]
        band = self.carried(reference, aligned)
        residual = unblock(self.draw(aligned.fused, band).float())
        return (resize(planar(lr), size) + band + residual).clamp(0, 1)

    def carried(self, reference: ReferenceFeatures, aligned: Aligned) -> Tensor:
        """The high-frequency band [B, 3, S, S] as it was moved and let through."""
        size = reference.band.shape[-1]
        flow, gate = resize(planar(aligned.flow), size), resize(planar(aligned.gate), size)
        return warp(reference.band, flow) * gate

    def align(
        self,
        reference: ReferenceFeatures,
        views: Views,
        rung: Tensor,
        coarse: tuple[Tensor, Tensor],
        gate_limit: float | Tensor,
    ) -> Aligned:
        """Everything up to where the band is needed at full scale.

        `rung` [B, 2], `coarse` (flow, hidden) at 64 px.
        """
        flow64, hidden = coarse
        side4 = reference.quarter.shape[-1]
        side8 = side4 // 2
        low = views.quarter
        cells = functional.pixel_unshuffle(views.half, _LR_CELL)
        target4 = torch.relu(self.modulate4(self.target4(cells - 0.5), rung))
        target8 = torch.relu(self.modulate8(self.target8(target4), rung))

        flow = resize(flow64, side8)
        warped = warp(reference.eighth, flow)
        warped8 = inner(warped[:, :-3], target8)
        seen8 = functional.avg_pool2d(low, 2) - warped[:, -3:]
        known = join(target8, warped8, resize(hidden, side8), seen8)
        refined = self.refine8(known)
        flow = flow + self.flow8(refined).float() / side8
        trust = torch.relu(self.trust8(refined))
        gate8 = self.gate8(trust, _magnitude(seen8)) * gate_limit
        x8 = self.body8(self.fuse8(join(target8, gate8 * warped8)))
        up8 = functional.pixel_shuffle(self.up8(x8), 2)

        flow = resize(flow, side4)
        warped = warp(reference.quarter, flow)
        warped4 = inner(warped[:, :-3], target4)
        seen4 = low - warped[:, -3:]
        known = join(target4, warped4, resize(trust, side4), seen4)
        refined = self.refine4(known)
        flow = flow + self.flow4(refined).float() / side4
        gates = self.gate4(refined, _magnitude(seen4)) * gate_limit
        fused = self.fuse4(join(target4, up8, gates[:, :1] * warped4))
        return Aligned(flow64, flow, gates[:, 1:], fused)

    def draw(self, fused: Tensor, band: Tensor) -> Tensor:
        """The residual as blocks [B, 48, S/4, S/4] (see `unblock`); `band` [B, 3, S, S]."""
        residual: Tensor = self.residual(self.body4(fused + inner(self.band4(band), fused)))
        return residual


def unblock(x: Tensor) -> Tensor:
    """Blocks [B, 4 * 4 * 3, H, W] as the picture [B, 3, 4H, 4W]: colours are innermost.

    Unlike `pixel_shuffle`'s order, this one is that of a picture's bytes: with the channels
    innermost in memory, whole rows of a block are copied at a time.
    """
    batch, _, height, width = x.shape
    blocks = x.view(batch, SCALE, SCALE, 3, height, width).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(batch, 3, SCALE * height, SCALE * width)


def _magnitude(difference: Tensor) -> Tensor:
    """Mean absolute difference over colours and a 3x3 neighbourhood, [B, 1, H, W] >= 0."""
    return functional.avg_pool2d(
        difference.abs().mean(1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False
    )
