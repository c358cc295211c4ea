"""A larger network that begins as a smaller one: Net2Net's idea (Chen, Goodfellow, Shlens 2016).

The smaller network's channels become the first ones of the larger; what old channels would hear
of new ones is 0, and so is what an added block adds. So the larger network draws, before its first
step, the picture that the smaller one draws, and has what it was trained for behind it.
"""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor

from gemino.nn.model import GeminoNet, Widths

_JOINED = {
    "generator.fuse8": ("width8", 2),
    "generator.refine8.0": ("width8", 2),
    "generator.fuse4": ("width4", 3),
    "generator.refine4.0": ("width4", 2),
}
"""Layers whose input is so many maps of one width, and behind them what every size has alike."""
_SCALE_AND_SHIFT = ("generator.modulate8.net.2", "generator.modulate4.net.2")


def fits(small: Widths, large: Widths) -> bool:
    """Whether a network of widths `large` can begin as one of widths `small`."""
    return all(getattr(small, field) <= getattr(large, field) for field in Widths.__slots__)


def widened(
    weights: Mapping[str, Tensor], small: Widths, model: GeminoNet, large: Widths
) -> dict[str, Tensor]:
    """All weights for `model`, of widths `large`, that make it draw what `weights` of `small` draw.

    New channels keep the values that `model` was built with. Raises KeyError, IndexError or
    RuntimeError where `weights` are no network of widths `small`.
    """
    result = {}
    for name, fresh in model.state_dict().items():
        layer = name.rpartition(".")[0]
        value = fresh.clone()
        if _is_added(name, weights):
            result[name] = value.zero_() if layer.endswith(".second") else value
            continue
        old = weights[name].to(value.device)
        rows = _places(old.shape[0], value.shape[0], 2 if layer in _SCALE_AND_SHIFT else 1)
        if old.ndim < 2:
            value[rows] = old
        else:
            columns = _columns(layer, old.shape[1], small, large, value.shape[1])
            value[rows] = 0
            value[rows[:, None], columns] = old
        result[name] = value
    return result


def _is_added(name: str, weights: Mapping[str, Tensor]) -> bool:
    return name not in weights and ".body" in name


def _columns(layer: str, old: int, small: Widths, large: Widths, new: int) -> Tensor:
    if layer not in _JOINED:
        return _places(old, new, 1)
    field, parts = _JOINED[layer]
    alike = old - parts * getattr(small, field)
    maps = _places(old - alike, parts * getattr(large, field), parts)
    return torch.cat([maps, torch.arange(new - alike, new)])


def _places(old: int, new: int, parts: int) -> Tensor:
    """Where `old` channels in equal `parts` lie among `new` ones: each part's are its first."""
    step, width = new // parts, old // parts
    return torch.tensor(list(chain(*(range(at * step, at * step + width) for at in range(parts)))))
