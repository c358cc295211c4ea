"""What a network costs by its layers alone, whatever the machine."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gemino.config import ModelConfig
from gemino.nn.model import build, count_macs

_BYTES = {"bfloat16": 2, "float32": 4, "int8": 1}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one frame, the reference encoded before.

    parameters: how many. macs: multiply-accumulates of convolutions and products. reference_bytes:
    features of a reference that every frame reads. picture_bytes: the picture made, uint8.
    """

    parameters: int
    macs: int
    reference_bytes: int
    picture_bytes: int

    def weights_bytes(self, precision: str) -> int:
        """In this number format, all of them."""
        return self.parameters * _BYTES[precision]

    def moved_bytes(self, precision: str) -> int:
        """What no frame can avoid to read or write once."""
        return self.weights_bytes(precision) + self.reference_bytes + self.picture_bytes


def cost(config: ModelConfig, output_px: int, lr_px: int) -> Cost:
    """Counted while it makes one frame. lr_px: side of the straightened LR picture."""
    model = build(config)
    macs = count_macs(model, output_px, lr_px)
    with torch.inference_mode():
        picture = torch.zeros(1, 3, output_px, output_px)
        features = model.encode_reference(picture, torch.zeros(1, 3, lr_px, lr_px))
    held = (features.quarter, features.eighth, features.band, *features.pyramid)
    reference_bytes = sum(tensor.numel() * tensor.element_size() for tensor in held)
    return Cost(count_parameters(model), macs, reference_bytes, 3 * output_px * output_px)


def count_parameters(model: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs_of(call: Callable[[], object]) -> int:
    """Multiply-accumulates of the convolutions and products that `call` does."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops()) // 2
