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
from gemino.nn.blocks import GateHead, Modulation, ResidualBlock, conv, inner, join, planar, resize
from gemino.nn.warp import warp

RUNG_INPUTS = 2
_UNSHUFFLED = 48  # 3 colours x 4 x 4 pixels: a full-scale picture seen at 1/4 scale
_TRUST = 16


class ReferenceFeatures(NamedTuple):
    """What is computed once per reference and LR size; S is the output's side.

    quarter [B, C4, S/4, S/4], eighth [B, C8, S/8, S/8]: learned features. band [B, 3, S, S]: the
    high-frequency band. low [B, 3, S/4, S/4]: the reference as its own LR picture shows it.
    pyramid: its motion features.
    """

    quarter: Tensor
    eighth: Tensor
    band: Tensor
    low: Tensor
    pyramid: motion.Pyramid


class Synthesis(NamedTuple):
    """A synthesised picture with what training and inspection look at.

    frame [B, 3, S, S] in 0..1. flow64 [B, 2, 64, 64] and flow [B, 2, S/4, S/4]. gate
    [B, 1, S/4, S/4] in 0..1: how much of the high-frequency band was carried over.
    """

    frame: Tensor
    flow64: Tensor
    flow: Tensor
    gate: Tensor


class ReferenceEncoder(nn.Module):
    """Learned features of the reference at 1/4 and 1/8 scale."""

    def __init__(self, width4: int, width8: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(
            conv(_UNSHUFFLED, width4), nn.ReLU(), ResidualBlock(width4), ResidualBlock(width4)
        )
        self.eighth = nn.Sequential(
            nn.ReLU(), conv(width4, width8, stride=2), nn.ReLU(), ResidualBlock(width8)
        )

    def forward(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(functional.pixel_unshuffle(reference - 0.5, 4))
        return quarter, self.eighth(quarter)


class Generator(nn.Module):
    """Fuses target and warped reference; see the essay above."""

    def __init__(self, width4: int, width8: int, blocks4: int, blocks8: int) -> None:
        super().__init__()
        self.target4 = conv(3, width4)
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
        self.fuse4 = conv(3 * width4 + _UNSHUFFLED, width4, kernel=1)
        self.body4 = nn.Sequential(*(ResidualBlock(width4) for _ in range(blocks4)))
        self.residual = conv(width4, _UNSHUFFLED)
        self.bilinear: Tensor
        self.register_buffer("bilinear", _bilinear_kernel(), persistent=False)
        with torch.no_grad():  # the first picture of all is upsampled LR + gated band, no noise
            for layer in (self.flow8, self.flow4, self.residual):
                nn.init.zeros_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        reference: ReferenceFeatures,
        lr: Tensor,
        rung: Tensor,
        coarse: tuple[Tensor, Tensor],
        gate_limit: float,
    ) -> Synthesis:
        """`lr` [B, 3, s, s], `rung` [B, 2], `coarse` (flow, hidden) at 64 px."""
        flow64, hidden = coarse
        size = reference.band.shape[-1]
        low = resize(lr, size // 4)
        target4 = torch.relu(self.modulate4(self.target4(low - 0.5), rung))
        target8 = torch.relu(self.modulate8(self.target8(target4), rung))

        flow = resize(flow64, size // 8)
        warped8 = inner(warp(reference.eighth, flow), target8)
        seen8 = functional.avg_pool2d(low, 2) - warp(functional.avg_pool2d(reference.low, 2), flow)
        known = join(target8, warped8, resize(hidden, size // 8), seen8)
        refined = self.refine8(known)
        flow = flow + self.flow8(refined).float() / (size // 8)
        trust = torch.relu(self.trust8(refined))
        gate8 = self.gate8(trust, _magnitude(seen8)) * gate_limit

        flow = resize(flow, size // 4)
        warped4 = inner(warp(reference.quarter, flow), target4)
        seen4 = low - warp(reference.low, flow)
        known = join(target4, warped4, resize(trust, size // 4), seen4)
        refined = self.refine4(known)
        flow = flow + self.flow4(refined).float() / (size // 4)
        gates = self.gate4(refined, _magnitude(seen4)) * gate_limit
        gate4, gate = gates[:, :1], gates[:, 1:]

        band = warp(reference.band, resize(planar(flow), size)) * resize(planar(gate), size)
        x8 = self.body8(self.fuse8(join(target8, gate8 * warped8)))
        up8 = functional.pixel_shuffle(self.up8(x8), 2)
        x4 = self.body4(self._fuse4(join(target4, up8, gate4 * warped4), band))
        quarter = self.residual(x4).float() + self._upsampled(low)
        frame = functional.pixel_shuffle(planar(quarter), 4) + band
        return Synthesis(frame.clamp(0, 1), flow64, flow, gate)

    def _fuse4(self, known: Tensor, band: Tensor) -> Tensor:
        """`fuse4` of what is known at 1/4 scale and of the band, seen at 1/4 scale.

        A 1x1 convolution of the 48 unshuffled channels is a 4x4 convolution of stride 4 of the
        three at full scale, which spares three copies of the whole picture.
        """
        weight, bias = self.fuse4.weight, self.fuse4.bias
        on_band = weight[:, -_UNSHUFFLED:].reshape(-1, 3, 4, 4)
        if not torch.is_autocast_enabled(band.device.type):
            band = band.to(weight.dtype)
        fused = functional.conv2d(known, weight[:, :-_UNSHUFFLED], bias)
        return fused + inner(functional.conv2d(band, on_band, stride=4), fused)

    def _upsampled(self, low: Tensor) -> Tensor:
        """`low` [B, 3, H, W] upsampled bilinearly to 4H x 4W, unshuffled: [B, 48, H, W].

        As a convolution it costs a tenth of an interpolation at full scale.
        """
        padded = functional.pad(low.float(), (1, 1, 1, 1), mode="replicate")
        with torch.autocast(low.device.type, enabled=False):
            # The kernel's values are exact in bfloat16; the picture must not pass through it.
            return functional.conv2d(padded, self.bilinear.float(), groups=3)


def _bilinear_kernel() -> Tensor:
    """[48, 1, 3, 3]: what each pixel of a 4x4 block takes of its own and the neighbouring cells."""
    places = (torch.arange(4) + 0.5) / 4 - 0.5  # of the four pixels, in cells from the centre
    cells = torch.tensor([-1.0, 0.0, 1.0])
    line = (1 - (places[:, None] - cells).abs()).clamp(min=0)  # [4, 3]
    block = line[:, None, :, None] * line[None, :, None, :]  # [4, 4, 3, 3]
    return block.reshape(16, 1, 3, 3).repeat(3, 1, 1, 1)


def _magnitude(difference: Tensor) -> Tensor:
    """Mean absolute difference over colours and a 3x3 neighbourhood, [B, 1, H, W] >= 0."""
    return functional.avg_pool2d(
        difference.abs().mean(1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False
    )
