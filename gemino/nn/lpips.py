"""LPIPS v0.1: how different two pictures look, as a trained network judges it.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.
Both pictures pass through an image classifier; at five depths the features are scaled to unit
length per pixel, their squared differences weighted per channel by what people judged, averaged
over the picture and summed. 0 is identical; about 0.05 is hard to tell apart, 0.3 plainly worse.

AlexNet is the backbone of published figures, VGG16 the one with smoother gradients for training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemino.errors import ModelError

Backbone = Literal["alex", "vgg"]

# The mean and deviation of ImageNet's pixels, in the published weights' range of -1..1.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


@dataclass(frozen=True)
class _Conv:
    """One convolution of a backbone, by its index in torchvision's `features`."""

    index: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class _Trunk:
    """A backbone as five stages; features are compared after the last ReLU of each."""

    stages: tuple[tuple[_Conv, ...], ...]
    pool_kernel: int
    pooled: tuple[int, ...]


_ALEX = _Trunk(
    stages=(
        (_Conv(0, 3, 64, 11, 4, 2),),
        (_Conv(3, 64, 192, 5, 1, 2),),
        (_Conv(6, 192, 384),),
        (_Conv(8, 384, 256),),
        (_Conv(10, 256, 256),),
    ),
    pool_kernel=3,
    pooled=(1, 2),
)
_VGG = _Trunk(
    stages=(
        (_Conv(0, 3, 64), _Conv(2, 64, 64)),
        (_Conv(5, 64, 128), _Conv(7, 128, 128)),
        (_Conv(10, 128, 256), _Conv(12, 256, 256), _Conv(14, 256, 256)),
        (_Conv(17, 256, 512), _Conv(19, 512, 512), _Conv(21, 512, 512)),
        (_Conv(24, 512, 512), _Conv(26, 512, 512), _Conv(28, 512, 512)),
    ),
    pool_kernel=2,
    pooled=(1, 2, 3, 4),
)
_TRUNKS: Mapping[Backbone, _Trunk] = {"alex": _ALEX, "vgg": _VGG}


class Lpips(nn.Module):
    """LPIPS with frozen weights; gradients flow to the pictures only.

    weights: `features.N.weight`, `features.N.bias` (torchvision's numbering) and `linK.weight`
    [1, C, 1, 1]; ModelError where one is missing or of another shape. Half-precision weights are
    taken as float32. backbone: "alex" or "vgg".
    """

    def __init__(self, weights: Mapping[str, Tensor], backbone: Backbone = "alex") -> None:
        super().__init__()
        self.backbone = backbone
        self._trunk = _TRUNKS[backbone]
        self.features = nn.ModuleDict(
            {
                str(c.index): nn.Conv2d(c.inputs, c.outputs, c.kernel, c.stride, c.padding)
                for stage in self._trunk.stages
                for c in stage
            }
        )
        for depth, stage in enumerate(self._trunk.stages):
            self.add_module(f"lin{depth}", nn.Conv2d(stage[-1].outputs, 1, 1, bias=False))
        try:
            self.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except RuntimeError as error:
            raise ModelError(
                f"these are not the weights of LPIPS with {backbone}: pass the v0.1 ones"
            ) from error
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, a: Tensor, b: Tensor, *, unscaled: bool = False) -> Tensor:
        """The distance [B] between `a` and `b`, both [B, 3, H, W] in 0..1, H and W at least 64.

        unscaled: feed 0..1 where the weights expect -1..1, a common slip that some published
        figures contain; only for comparing with those.
        """
        total = a.new_zeros(a.shape[0], dtype=torch.float32)
        for depth, (of_a, of_b) in enumerate(
            zip(self._depths(a, unscaled), self._depths(b, unscaled), strict=True)
        ):
            weight = self.get_parameter(f"lin{depth}.weight")
            total = total + ((of_a - of_b).square() * weight).sum(1).mean((1, 2))
        return total

    def _depths(self, picture: Tensor, unscaled: bool) -> Iterator[Tensor]:
        """The unit-length features [B, C, h, w] of each depth.

        The two pictures go through apart, so that one without a gradient records none.
        """
        x = picture if unscaled else picture * 2 - 1
        x = (x - self.get_buffer("shift")) / self.get_buffer("scale")
        for depth, stage in enumerate(self._trunk.stages):
            if depth in self._trunk.pooled:
                x = F.max_pool2d(x, self._trunk.pool_kernel, 2)
            for conv in stage:
                x = F.relu(self.features[str(conv.index)](x))
            yield _unit_length(x)


def _unit_length(x: Tensor) -> Tensor:
    """Features [B, C, H, W] scaled to length 1 per pixel, in float32 under any autocast.

    The clamp keeps the root's gradient finite where all features are 0.
    """
    x = x.float()
    length = x.square().sum(1, keepdim=True).clamp_min(_EPSILON**2).sqrt()
    return x / (length + _EPSILON)
