"""Moving pictures and feature maps along a flow."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample `x` [B, C, H, W] at each pixel's own place plus `flow` [B, 2, H, W].

    Bilinear; beyond the border the border repeats. Runs in float32 whatever the input (bfloat16
    coordinates are coarser than a pixel from 256 px on). A zero flow gives `x` back.
    """
    height, width = flow.shape[-2:]
    x, flow = x.float(), flow.float()
    across = (torch.arange(width, device=flow.device, dtype=flow.dtype) * 2 + 1) / width - 1
    down = (torch.arange(height, device=flow.device, dtype=flow.dtype) * 2 + 1) / height - 1
    grid = torch.stack((across + 2 * flow[:, 0], down[:, None] + 2 * flow[:, 1]), dim=-1)
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def correlation(target: Tensor, reference: Tensor, radius: int) -> Tensor:
    """Cosine similarity of each target vector with its (2r+1)^2 neighbours in the reference.

    Both [B, C, H, W]; returns [B, (2r+1)^2, H, W], rows of displacements from top left
    (the cost volume of Sun et al., PWC-Net, 2018).
    """
    size = 2 * radius + 1
    height, width = target.shape[-2:]
    target = functional.normalize(target.float(), dim=1)
    padded = functional.pad(functional.normalize(reference.float(), dim=1), [radius] * 4)
    return torch.stack(
        [
            (target * padded[:, :, dy : dy + height, dx : dx + width]).sum(1)
            for dy in range(size)
            for dx in range(size)
        ],
        dim=1,
    )
