"""A person's adapter: what a few minutes of training change of a network that stays as it is.

To the weights W [out, in, k, k] of each convolution that draws, an adapter adds a product of two
small matrices, up [out, r] x down [r, in k k] (LoRA, Hu et al. 2021), and to its bias a shift
[out]. Motion, flows, gates and what the rung does are left alone: an adapter may draw skin and
hair otherwise, but where the reference is not to be trusted, it still is not.

Merged into the weights, an adapter costs nothing at run time. Where one batch shows many people,
each with an adapter of their own (`batched`), the shared weights are applied once to all.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gemino.errors import ModelError
from gemino.nn.blocks import Convolution
from gemino.nn.model import GeminoNet

MAX_RANK = 32
MOST_CHANGE = 1.0
"""No layer may be changed by more than its own length (Frobenius); trained ones stay below 0.4."""
_DRAWING = ("target4", "target8", "fuse8", "body8", "up8", "fuse4", "band4", "body4", "residual")


class LowRank(NamedTuple):
    """What is added to one convolution: up [out, r] x down [r, in, k, k], and shift [out].

    shift: None where the convolution has no bias.
    """

    up: Tensor
    down: Tensor
    shift: Tensor | None

    def change(self) -> Tensor:
        """What is added to the weights, [out, in, k, k]."""
        return _product(self.up, self.down)


Adapter = Mapping[str, LowRank]
"""Changes by the names of convolutions (`layers`); those not named stay as they are."""


def layers(network: GeminoNet) -> dict[str, Convolution]:
    """The convolutions that an adapter may change, by name: those that draw."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, Convolution) and _draws(name)
    }


def _draws(name: str) -> bool:
    room, *path = name.split(".")
    return room == "reference" or (room == "generator" and path[0] in _DRAWING)


def from_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> dict[str, LowRank]:
    """The adapter in an `adapters.AdapterFile`: NAME.up, NAME.down and NAME.shift of layers.

    Raises ModelError where one of a layer's parts is missing.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, values in arrays.items():
        name, _, kind = key.rpartition(".")
        parts.setdefault(name, {})[kind] = torch.from_numpy(values.astype(np.float32))
    for name, part in parts.items():
        if not {"up", "down"} <= part.keys():
            raise ModelError(f"adapter: {name} is not whole; fetch or train it again")
    return {name: LowRank(p["up"], p["down"], p.get("shift")) for name, p in parts.items()}


def to_arrays(adapter: Adapter) -> dict[str, NDArray[np.float32]]:
    """`adapter` as `from_arrays` reads it."""
    return {
        f"{name}.{kind}": x.detach().float().cpu().numpy()
        for name, part in adapter.items()
        for kind, x in part._asdict().items()
        if x is not None
    }


@torch.no_grad()
def check(network: GeminoNet, adapter: Adapter) -> None:
    """Raises ModelError unless `adapter` fits `network`, layer by layer, and changes it little."""
    known = layers(network)
    for name, part in adapter.items():
        if name not in known:
            raise ModelError(f"adapter: {name} is no layer that an adapter may change")
        weight, bias = known[name].weight, known[name].bias
        rank = part.down.shape[0] if part.down.ndim else 0
        wanted = ((weight.shape[0], rank), (rank, *weight.shape[1:]))
        if (part.up.shape, part.down.shape) != wanted or not 0 < rank <= MAX_RANK:
            raise ModelError(f"adapter: {name} does not fit this network; train it again")
        shift = None if part.shift is None else part.shift.shape
        if shift != (None if bias is None else bias.shape):
            raise ModelError(f"adapter: {name}'s shift does not fit this network; train it again")
        if not all(bool(torch.isfinite(x).all()) for x in part if x is not None):
            raise ModelError(f"adapter: {name} holds values that are no numbers; train it again")
        change = float(part.change().norm())
        if not change <= MOST_CHANGE * float(weight.norm()):
            raise ModelError(f"adapter: {name} changes more than it keeps; it is damaged or forged")
        if bias is not None and part.shift is not None:
            _check_shift(name, part.shift, weight, bias)


def _check_shift(name: str, shift: Tensor, weight: Tensor, bias: Tensor) -> None:
    if not float(shift.norm()) <= MOST_CHANGE * (float(weight.norm()) + float(bias.norm())):
        raise ModelError(f"adapter: {name} shifts more than it keeps; it is damaged or forged")


@torch.no_grad()
def merged(network: GeminoNet, adapter: Adapter) -> GeminoNet:
    """A copy of `network` for one person. ModelError where `adapter` does not fit."""
    check(network, adapter)
    own = copy.deepcopy(network)
    known = layers(own)
    for name, part in adapter.items():
        layer = known[name]
        layer.weight.add_(part.change())
        if layer.bias is not None and part.shift is not None:
            layer.bias.add_(part.shift)
    return own


class _Change(nn.Module):
    """Adds a low-rank change to a weight while it is trained; zero at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rank = min(rank, weight.shape[0], weight[0].numel())
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.down = nn.Parameter(torch.randn(rank, *weight.shape[1:]) / weight[0].numel() ** 0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + _product(self.up, self.down)


class _Shift(nn.Module):
    """Adds to a bias while it is trained."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros_like(bias))

    def forward(self, bias: Tensor) -> Tensor:
        return bias + self.shift


def attach(network: GeminoNet, rank: int) -> None:
    """Freeze `network` and give it an untrained adapter that changes nothing yet, in place."""
    network.requires_grad_(False)
    for layer in layers(network).values():
        bias = layer.bias
        parametrize.register_parametrization(layer, "weight", _Change(layer.weight, rank))
        if bias is not None:
            parametrize.register_parametrization(layer, "bias", _Shift(bias))


def extract(weights: Mapping[str, Tensor]) -> dict[str, LowRank]:
    """The adapter in the state of a network that one was attached to."""
    found = {}
    for key, up in weights.items():
        name, mark, leaf = key.partition(".parametrizations.weight.0.")
        if mark and leaf == "up":
            shift = weights.get(f"{name}.parametrizations.bias.0.shift")
            found[name] = LowRank(up, weights[f"{name}{mark}down"], shift)
    return found


class _PerSample(nn.Module):
    """A convolution whose weights differ from sample to sample: the shared one, and changes.

    up [B, out, r], down [B r, in, k, k], shift [B, out, 1, 1]; smaller ranks are filled with zeros.
    """

    def __init__(self, layer: Convolution, parts: Sequence[LowRank | None]) -> None:
        super().__init__()
        self.layer = layer
        rank = max((part.down.shape[0] for part in parts if part is not None), default=1)
        count, outputs = len(parts), layer.out_channels
        self.up = torch.zeros(count, outputs, rank)
        down = torch.zeros(count, rank, *layer.weight.shape[1:])
        self.shift = torch.zeros(count, outputs, 1, 1)
        for at, part in enumerate(parts):
            if part is not None:
                own = part.down.shape[0]
                self.up[at, :, :own] = part.up
                down[at, :own] = part.down
                if part.shift is not None:
                    self.shift[at, :, 0, 0] = part.shift
        self.down = down.flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        shared: Tensor = self.layer(x)
        count, kind = len(self.up), shared.dtype
        if len(x) != count:
            raise ValueError(f"this batch holds {count} people, not {len(x)}")
        grouped = functional.conv2d(
            x.to(kind).reshape(1, -1, *x.shape[2:]),
            self.down.to(kind),
            stride=self.layer.stride,
            padding=self.layer.padding,
            groups=count,
        )
        narrow = grouped.view(count, -1, shared.shape[2] * shared.shape[3])
        own = torch.bmm(self.up.to(kind), narrow).view_as(shared)
        return shared + own + self.shift.to(kind)


def batched(network: GeminoNet, adapters: Sequence[Adapter | None]) -> GeminoNet:
    """A network for batches whose n-th sample is drawn with the n-th adapter; None: with none.

    It shares the weights of `network`. Raises ModelError where an adapter does not fit.
    """
    for adapter in adapters:
        check(network, adapter or {})
    memo = {id(x): x for x in (*network.parameters(), *network.buffers())}
    own = copy.deepcopy(network, memo)
    for name, layer in layers(own).items():
        parts = [None if adapter is None else adapter.get(name) for adapter in adapters]
        if any(part is not None for part in parts):
            room, _, leaf = name.rpartition(".")
            setattr(own.get_submodule(room), leaf, _PerSample(layer, parts))
    return own


def _product(up: Tensor, down: Tensor) -> Tensor:
    """up [out, r] x down [r, in, k, k], in float32 whatever is around it."""
    with torch.autocast(up.device.type, enabled=False):
        return (up @ down.flatten(1)).view(up.shape[0], *down.shape[1:])
