"""Pictures as the network takes them."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(pictures: Iterable[NDArray[np.uint8]], device: torch.device | str = "cpu") -> Tensor:
    """RGB pictures uint8 [H, W, 3] of one size as float32 [B, 3, H, W] in 0..1.

    Channels last, as the pictures' bytes lie.
    """
    pixels = torch.from_numpy(np.stack(list(pictures))).to(device)
    return pixels.permute(0, 3, 1, 2).float().div_(255.0)
