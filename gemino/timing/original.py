"""The published Gemino's network, layer by layer, with random weights: for its cost alone.

Sivaraman et al., "Gemino: Practical and Robust Neural Compression for Video Conferencing", NSDI
2024 (arXiv 2209.10507), on the motion estimation of Siarohin et al., "First Order Motion Model for
Image Animation", 2019 (FOMM). Widths are those of its published 1024 px configuration. What is
known, and what is assumed:

- Keypoints: an hourglass of five levels on 64x64 pixels, 32 channels doubling up to 1024; two 7x7
  heads without padding give 10 keypoints and their Jacobians. FOMM's layers.
- Dense motion: the same hourglass from 64 channels on, fed for each keypoint and the background
  with a difference of Gaussians and the reference moved its way, and with the LR picture; 7x7
  heads give 11 masks over the motions, and three gates: warped reference, reference as it lies,
  LR picture.
- Encoder of the reference: 7x7 to 64 channels at 256 px, down to 256 channels at 64 px; beside it
  7x7 to 16 channels at 1024 px, 32 at 512 and 64 at 256, the skips. Done once, not every frame.
- Generator: the 256 channels warped and the same as they lie make 512 at 64 px; six residual
  blocks; four upsampling convolutions to 32 channels at 1024 px; a last 7x7. The LR picture joins
  as 32 channels (7x7) where its size is reached; the skips, warped and as they lie, at 256 and 512.
- Assumed: the LR picture has 128 px (at 64 or 256 px the cost differs by 1 %); the
  pictures that motion is estimated from are shrunk by averaging rather than by a Gaussian filter
  (0.1 % less); frames are not warped for display.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gemino.timing.cost import count_parameters, macs_of

OUTPUT_PX = 1024
LR_PX = 128
_MOTION_PX = 64
_KEYPOINTS = 10
_BASE = 64  # channels at 1/4 scale
_SKIP = 16  # channels at full scale
_LR = 32
_MOST = 1024
_LEVELS = 5
_RESIDUAL_BLOCKS = 6
_VARIANCE = 0.01

_Conv = Callable[[int, int, int], nn.Module]


def plain(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """A convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def depthwise(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """The separable one of the depthwise variant: every channel for itself, then 1x1."""
    own = nn.Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs)
    return nn.Sequential(own, nn.Conv2d(inputs, outputs, 1))


class Keypoints(NamedTuple):
    """places [B, 10, 2] in -1..1 (x, y); jacobians [B, 10, 2, 2]."""

    places: Tensor
    jacobians: Tensor


class Remembered(NamedTuple):
    """Of a reference: small [B, 3, 64, 64], its keypoints, [B, 256, S/16, S/16] and the skips."""

    small: Tensor
    keypoints: Keypoints
    encoded: Tensor
    skips: tuple[Tensor, Tensor]


class _Block(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, conv: _Conv, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__(conv(inputs, outputs, kernel), nn.BatchNorm2d(outputs), nn.ReLU())


class _Down(nn.Sequential):
    def __init__(self, conv: _Conv, inputs: int, outputs: int) -> None:
        super().__init__(_Block(conv, inputs, outputs), nn.AvgPool2d(2))


class _Up(nn.Sequential):
    def __init__(self, conv: _Conv, inputs: int, outputs: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2), _Block(conv, inputs, outputs))


class _Residual(nn.Sequential):
    def __init__(self, conv: _Conv, channels: int) -> None:
        half = [nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, channels, 3)]
        other = [nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, channels, 3)]
        super().__init__(*half, *other)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self:
            out = layer(out)
        return x + out


class _Hourglass(nn.Module):
    """Five levels down and up again, each level's input joined on the way back."""

    def __init__(self, conv: _Conv, inputs: int, base: int) -> None:
        super().__init__()
        widths = [min(_MOST, base << level) for level in range(_LEVELS + 1)]
        into = [inputs, *widths[1:]]
        self.down = nn.ModuleList(_Down(conv, into[i], widths[i + 1]) for i in range(_LEVELS))
        self.up = nn.ModuleList(
            _Up(conv, widths[i + 1] * (1 if i == _LEVELS - 1 else 2), widths[i])
            for i in reversed(range(_LEVELS))
        )
        self.outputs = base + inputs

    def forward(self, x: Tensor) -> Tensor:
        passed = [x]
        for down in self.down:
            passed.append(down(passed[-1]))
        x = passed.pop()
        for up in self.up:
            x = torch.cat([up(x), passed.pop()], dim=1)
        return x


class _KeypointDetector(nn.Module):
    def __init__(self, conv: _Conv) -> None:
        super().__init__()
        self.hourglass = _Hourglass(conv, 3, 32)
        self.places = conv(self.hourglass.outputs, _KEYPOINTS, 7)
        self.jacobians = conv(self.hourglass.outputs, 4 * _KEYPOINTS, 7)

    def forward(self, small: Tensor) -> Keypoints:
        """Of a picture [B, 3, 64, 64]."""
        features = self.hourglass(small)[..., 3:-3, 3:-3]  # the heads see no border
        batch = len(small)
        heat = torch.softmax(self.places(features).flatten(2) / 0.1, dim=2)
        grid = _grid(features.shape[-1], small).flatten(0, 1)
        maps = self.jacobians(features).view(batch, _KEYPOINTS, 4, -1)
        jacobians = (maps * heat[:, :, None]).sum(-1).view(batch, _KEYPOINTS, 2, 2)
        return Keypoints(heat @ grid, jacobians)


class _DenseMotion(nn.Module):
    def __init__(self, conv: _Conv) -> None:
        super().__init__()
        self.hourglass = _Hourglass(conv, (_KEYPOINTS + 1) * 4 + 3, 64)
        self.masks = conv(self.hourglass.outputs, _KEYPOINTS + 1, 7)
        self.gates = conv(self.hourglass.outputs, 3, 7)

    def forward(self, reference: Remembered, target: Keypoints, lr: Tensor) -> tuple[Tensor, ...]:
        """Where each pixel comes from [B, 64, 64, 2] in -1..1, and gates [B, 3, 64, 64]."""
        grid = _grid(_MOTION_PX, lr)[None, None]
        source = reference.keypoints
        heat = _gaussians(target.places, grid) - _gaussians(source.places, grid)
        turn = source.jacobians @ torch.linalg.inv(target.jacobians.float()).to(lr.dtype)
        away = (grid - target.places[:, :, None, None]).unsqueeze(-1)
        places = (turn[:, :, None, None] @ away).squeeze(-1) + source.places[:, :, None, None]
        motions = torch.cat([grid.expand(len(lr), -1, -1, -1, -1), places], dim=1)
        moved = _sample(
            reference.small.repeat_interleave(_KEYPOINTS + 1, dim=0), motions.flatten(0, 1)
        ).view(len(lr), -1, _MOTION_PX, _MOTION_PX)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)
        features = self.hourglass(torch.cat([heat, moved, lr], dim=1))
        masks = torch.softmax(self.masks(features), dim=1)
        flow = (motions * masks.unsqueeze(-1)).sum(1)
        return flow, torch.softmax(self.gates(features), dim=1)


class Original(nn.Module):
    """The whole network; `remember` a reference, then `forward` for each frame."""

    def __init__(self, conv: _Conv = plain) -> None:
        super().__init__()
        wide = 4 * _BASE
        self.keypoints = _KeypointDetector(conv)
        self.motion = _DenseMotion(conv)
        self.first = _Block(conv, 3, _BASE, 7)
        self.encode = nn.Sequential(_Down(conv, _BASE, 2 * _BASE), _Down(conv, 2 * _BASE, wide))
        self.skip1 = _Block(conv, 3, _SKIP, 7)
        self.skip2 = _Down(conv, _SKIP, 2 * _SKIP)
        self.skip4 = _Down(conv, 2 * _SKIP, 4 * _SKIP)
        self.lr = _Block(conv, 3, _LR, 7)
        self.body = nn.Sequential(*(_Residual(conv, 2 * wide) for _ in range(_RESIDUAL_BLOCKS)))
        self.up8 = _Up(conv, 2 * wide, wide)
        self.up4 = _Up(conv, wide + _LR, 2 * _BASE)
        self.up2 = _Up(conv, 2 * _BASE + 8 * _SKIP, 4 * _SKIP)
        self.up1 = _Up(conv, 4 * _SKIP + 4 * _SKIP, 2 * _SKIP)
        self.last = conv(2 * _SKIP, 3, 7)

    def remember(self, reference: Tensor) -> Remembered:
        """What depends on the reference [B, 3, S, S] alone; S is 1024, or at least 128."""
        quarter = functional.interpolate(reference, scale_factor=0.25)
        half = self.skip2(self.skip1(reference))
        small = _shrunk(reference)
        encoded = self.encode(self.first(quarter))
        return Remembered(small, self.keypoints(small), encoded, (self.skip4(half), half))

    def forward(self, reference: Remembered, lr: Tensor) -> Tensor:
        """The picture [B, 3, S, S] in 0..1 for the LR picture [B, 3, S/8, S/8]."""
        small = _shrunk(lr)
        flow, gates = self.motion(reference, self.keypoints(small), small)
        moved, still, fresh = gates.split(1, dim=1)
        encoded = reference.encoded
        warped = _sample(encoded, _at(flow, encoded)) * _fit(moved, encoded)
        x = self.body(torch.cat([warped, encoded * _fit(still, encoded)], dim=1))
        seen = self.lr(lr)
        x = self.up4(torch.cat([self.up8(x), seen * _fit(fresh, seen)], dim=1))
        for up, skip in zip((self.up2, self.up1), reference.skips, strict=True):
            x = up(torch.cat([x, _sample(skip, _at(flow, skip)), skip], dim=1))
        return torch.sigmoid(self.last(x))


class Counts(NamedTuple):
    """parameters: how many. macs: multiply-accumulates of a frame; reference_macs: of a reference,
    once."""

    parameters: int
    macs: int
    reference_macs: int


def counts(conv: _Conv = plain) -> Counts:
    """At 1024 px, on tensors without contents: nothing is computed."""
    with torch.device("meta"):
        network = Original(conv).eval()
        reference = torch.empty(1, 3, OUTPUT_PX, OUTPUT_PX)
        lr = torch.empty(1, 3, LR_PX, LR_PX)
        with torch.inference_mode():
            remembered = network.remember(reference)
        once = macs_of(lambda: network.remember(reference))
        return Counts(count_parameters(network), macs_of(lambda: network(remembered, lr)), once)


def _grid(size: int, like: Tensor) -> Tensor:
    """Each pixel's own place [size, size, 2] in -1..1 (x, y)."""
    line = torch.linspace(-1, 1, size, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def _gaussians(places: Tensor, grid: Tensor) -> Tensor:
    distance = (grid - places[:, :, None, None]).square().sum(-1)
    return torch.exp(-0.5 * distance / _VARIANCE)


def _sample(x: Tensor, places: Tensor) -> Tensor:
    return functional.grid_sample(x.float(), places.float(), align_corners=False).to(x.dtype)


def _shrunk(picture: Tensor) -> Tensor:
    return functional.interpolate(picture, size=(_MOTION_PX, _MOTION_PX), mode="area")


def _at(flow: Tensor, like: Tensor) -> Tensor:
    """`flow` at the size of `like`."""
    return _fit(flow.permute(0, 3, 1, 2), like).permute(0, 2, 3, 1)


def _fit(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
