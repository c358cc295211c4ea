"""Where each part of the target picture was in the reference.

Estimated from the two low-resolution pictures alone, coarse to fine at 16, 32 and 64 px whatever
the output size: nothing is transmitted for it, and its cost is the same at 256 and at 1024 px.
Each level correlates the target's features with the reference's, warped by the flow so far.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gemino.nn.blocks import conv, join, resize
from gemino.nn.warp import correlation, warp

INPUT_PX = 128
FLOW_PX = 64
HIDDEN = 16
_WIDTHS = (24, 32, 48)  # at 64, 32 and 16 px
_RADII = (2, 3, 4)  # reach: 1/32, 3/32 and 1/4 of the picture


class Pyramid(NamedTuple):
    """Features of one low-resolution picture: [B, 24, 64, 64], [B, 32, 32, 32], [B, 48, 16, 16]."""

    at64: Tensor
    at32: Tensor
    at16: Tensor


class _Level(nn.Module):
    """One step of refinement: similarities, target features and what is known -> flow, hidden."""

    def __init__(self, width: int, radius: int, first: bool) -> None:
        super().__init__()
        self.radius = radius
        known = 0 if first else 2 + HIDDEN
        similarities = (2 * radius + 1) ** 2
        self.net = nn.Sequential(
            conv(similarities + width + known, 48),
            nn.ReLU(),
            conv(48, 32),
            nn.ReLU(),
            conv(32, 2 + HIDDEN),
        )

    def forward(
        self, target: Tensor, reference: Tensor, flow: Tensor | None, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        side = target.shape[-1]
        parts = [target]
        if flow is not None and hidden is not None:
            flow, hidden = resize(flow, side), resize(hidden, side)
            reference = warp(reference, flow)
            # A flow is a fraction of the picture; the network thinks in pixels of this level.
            parts += [flow * side, hidden]
        parts.append(correlation(target, reference, self.radius))
        out = self.net(join(*parts)).float()
        step = out[:, :2] / side
        return (step if flow is None else flow + step), torch.relu(out[:, 2:])


class MotionEstimator(nn.Module):
    """Dense flow from reference to target, with features that say how far to trust it."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = _WIDTHS
        self.to64 = nn.Sequential(conv(3, a, stride=2), nn.ReLU(), conv(a, a))
        self.to32 = nn.Sequential(nn.ReLU(), conv(a, b, stride=2), nn.ReLU(), conv(b, b))
        self.to16 = nn.Sequential(nn.ReLU(), conv(b, c, stride=2), nn.ReLU(), conv(c, c))
        self.level64 = _Level(a, _RADII[0], first=False)
        self.level32 = _Level(b, _RADII[1], first=False)
        self.level16 = _Level(c, _RADII[2], first=True)

    def pyramid(self, lr: Tensor) -> Pyramid:
        """Features of a low-resolution picture [B, 3, s, s] of any size."""
        at64 = self.to64(resize(lr, INPUT_PX) - 0.5)
        at32 = self.to32(at64)
        return Pyramid(at64, at32, self.to16(at32))

    def forward(self, target: Pyramid, reference: Pyramid) -> tuple[Tensor, Tensor]:
        """Flow [B, 2, 64, 64] and hidden features [B, 16, 64, 64]."""
        flow, hidden = self.level16(target.at16, reference.at16, None, None)
        flow, hidden = self.level32(target.at32, reference.at32, flow, hidden)
        flow, hidden = self.level64(target.at64, reference.at64, flow, hidden)
        return flow, hidden
