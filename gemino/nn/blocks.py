"""Small building blocks."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from gemino.nn.portable import averaged


class Convolution(nn.Conv2d):
    """A convolution that takes its input in any float type.

    A network whose weights were cast to bfloat16 runs as it is: what must stay float32 (flows,
    warps, three channels at full scale) is cast where it enters a convolution, and nowhere else.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.weight.dtype)
        return super().forward(x)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> Convolution:
    """A convolution that keeps the size (divided by the stride)."""
    return Convolution(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def resize(x: Tensor, size: int) -> Tensor:
    """`x` [B, C, H, W] at [B, C, size, size]: area averaging when shrinking, else bilinear."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        if torch.onnx.is_in_onnx_export():
            return averaged(x, size)
        return functional.interpolate(x, size=(size, size), mode="area")
    return functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def join(first: Tensor, *others: Tensor) -> Tensor:
    """Concatenate along the channels, in the first one's dtype and with the channels innermost.

    Left to itself, torch.cat promotes a mixture to float32, copies a mixture of layouts element
    by element, and where the strides leave room for doubt puts the channels outermost.
    """
    parts = [inner(x, first).permute(0, 2, 3, 1) for x in (first, *others)]
    return torch.cat(parts, dim=-1).permute(0, 3, 1, 2)


def inner(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the dtype of `like`, the channels innermost: the fast layout for convolutions."""
    return x.to(like.dtype).contiguous(memory_format=torch.channels_last)


def planar(x: Tensor) -> Tensor:
    """`x` in float32, plane after plane: the fast layout for three channels at full scale."""
    return x.float().contiguous()


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))); no normalisation, so that no frame depends on its neighbours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)
        with torch.no_grad():  # starts near the identity: depth costs nothing early on
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(torch.relu(self.first(x)))
        return out


class Modulation(nn.Module):
    """Scales and shifts feature maps by the rung (FiLM, Perez et al. 2018)."""

    def __init__(self, rung_inputs: int, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(rung_inputs, 16), nn.ReLU(), nn.Linear(16, 2 * channels))
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, rung: Tensor) -> Tensor:
        """`x` [B, C, H, W] modulated by `rung` [B, inputs]."""
        first = self.net[0]
        assert isinstance(first, nn.Linear)
        scale, shift = torch.chunk(
            self.net(rung.to(first.weight.dtype))[:, :, None, None], 2, dim=1
        )
        return torch.addcmul(shift.to(x.dtype), x, (1 + scale).to(x.dtype))


class GateHead(nn.Module):
    """Gates in 0..1 that can only close as the mismatch grows.

        hidden = relu(A f - |V| m + b),  gate = tanh(|U| hidden)

    f are features clamped to 0..6, m the mismatch between the picture and what was carried over.
    |V| and |U| are non-negative by construction, so for any features the gate never rises with m,
    and it is exactly 0 from some m on. Piecewise linear up to the monotone tanh, it stays within
    reach of a verifier.
    """

    def __init__(self, features: int, mismatches: int, gates: int, hidden: int = 16) -> None:
        super().__init__()
        self.features = conv(features, hidden, kernel=1)
        self.mismatch = nn.Parameter(torch.ones(hidden, mismatches))
        self.output = nn.Parameter(torch.full((gates, hidden), 0.15))
        with torch.no_grad():
            assert self.features.bias is not None
            self.features.bias.fill_(0.5)

    def forward(self, features: Tensor, mismatch: Tensor) -> Tensor:
        """`features` [B, F, H, W], `mismatch` [B, M, H, W] >= 0 -> gates [B, G, H, W]."""
        closing = functional.conv2d(
            mismatch.to(self.mismatch.dtype), self.mismatch.abs()[:, :, None, None]
        )
        hidden = torch.relu(self.features(features.clamp(0, 6)) - closing)
        return torch.tanh(functional.conv2d(hidden, self.output.abs()[:, :, None, None]))
