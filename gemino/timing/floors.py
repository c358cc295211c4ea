"""What the machine itself can do: the floor under any implementation.

A frame's arithmetic takes no less than at the rate of the fastest convolution measured here, in
the number format that is used; and each byte that a frame needs must cross the memory bus once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from gemino.timing.stopwatch import Stage

_CONVOLUTIONS = ((64, 128), (32, 256))  # channels, pixels: the network's two main sizes
_COPIED_BYTES = 128 << 20  # several times any cache
_MEMORY = "memory copy"


@dataclass(frozen=True, slots=True)
class Floors:
    """convolutions: billions of multiply-accumulates a second, by name. memory: GB a second."""

    convolutions: Mapping[str, float]
    memory: float

    @property
    def peak(self) -> float:
        """The fastest convolution's rate."""
        return max(self.convolutions.values())

    def frame_ms(self, macs: int, moved_bytes: int) -> float:
        """Least time for so much arithmetic and so many bytes, even if both overlap fully."""
        return max(macs / self.peak, moved_bytes / self.memory) / 1e6


def stages(device: torch.device, dtype: torch.dtype) -> list[Stage]:
    """What `floors` needs to have timed."""
    on_gpu = device.type != "cpu"
    made = []
    for channels, size_px in _CONVOLUTIONS:
        x = torch.rand(1, channels, size_px, size_px, device=device, dtype=dtype)
        weight = torch.rand(channels, channels, 3, 3, device=device, dtype=dtype)
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        made.append(Stage(_name(channels, size_px), _Convolution(x, weight), on_gpu))
    source = torch.zeros(_COPIED_BYTES // 4, device=device)
    made.append(Stage(_MEMORY, _Copy(source, torch.zeros_like(source)), on_gpu))
    return made


def floors(best_ms: Mapping[str, float]) -> Floors:
    """From the best times of `stages`: a floor is what the machine can do undisturbed."""
    rates = {}
    for channels, size_px in _CONVOLUTIONS:
        macs = 9 * channels * channels * size_px * size_px
        rates[_name(channels, size_px)] = macs / best_ms[_name(channels, size_px)] / 1e6
    return Floors(rates, 2 * _COPIED_BYTES / best_ms[_MEMORY] / 1e6)


def names() -> Sequence[str]:
    """Of `stages`."""
    return [*(_name(*which) for which in _CONVOLUTIONS), _MEMORY]


def _name(channels: int, size_px: int) -> str:
    return f"3x3 convolution, {channels} channels at {size_px} px"


@dataclass(frozen=True, slots=True, eq=False)
class _Convolution:
    x: torch.Tensor
    weight: torch.Tensor

    def __call__(self) -> object:
        return functional.conv2d(self.x, self.weight, padding=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    source: torch.Tensor
    target: torch.Tensor

    def __call__(self) -> object:
        return self.target.copy_(self.source)
