"""Moving pictures and feature maps along a flow."""

import torch
import torch.nn.functional as functional
from torch import Tensor

from gemino.nn.portable import diagonals, gathered

_TINY = 1e-12  # in a sum of squares: a vector of zeros stays one


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample `x` [B, C, H, W] at each pixel's own place plus `flow` [B, 2, H, W].

    Bilinear; beyond the border the border repeats. Runs in float32 whatever the input (bfloat16
    coordinates are coarser than a pixel from 256 px on). A zero flow gives `x` back.
    """
    height, width = flow.shape[-2:]
    x, flow = x.float(), flow.float()
    if torch.onnx.is_in_onnx_export():
        return gathered(x, flow)
    across = (torch.arange(width, device=flow.device, dtype=flow.dtype) * 2 + 1) / width - 1
    down = (torch.arange(height, device=flow.device, dtype=flow.dtype) * 2 + 1) / height - 1
    places = (across.expand(height, width), down[:, None].expand(height, width))
    base = torch.stack(places, dim=-1)
    grid = torch.add(base, flow.permute(0, 2, 3, 1), alpha=2)
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def correlation(target: Tensor, reference: Tensor, radius: int) -> Tensor:
    """Cosine similarity of each target vector with its (2r+1)^2 neighbours in the reference.

    Both [B, C, H, W]; returns [B, (2r+1)^2, H, W] float32, rows of displacements from top left
    (the cost volume of Sun et al., PWC-Net, 2018). Beyond the border the similarity is 0.

    A row of the target is multiplied with a whole row of the reference, and the 2r+1 diagonals
    that are wanted are read out of the product: more arithmetic than a product for each
    displacement, and fewer operations. Products are taken in the target's dtype.
    """
    size = 2 * radius + 1
    batch, _, height, width = target.shape
    span = width + 2 * radius
    kind = target.dtype
    rows = _unit_vectors(target).to(kind)
    columns = _unit_vectors(functional.pad(reference, [radius] * 4)).to(kind).transpose(2, 3)
    products = [torch.matmul(rows, columns[:, dy : dy + height]) for dy in range(size)]
    if torch.onnx.is_in_onnx_export():
        return torch.cat([diagonals(x, size) for x in products], dim=-1).permute(0, 3, 1, 2)
    shape = (batch, size, height, width)
    steps = (height * width * span, 1, width * span, span + 1)  # (x, x + dx) for each dx
    return torch.cat([x.as_strided(shape, steps) for x in products], dim=1).float()


def _unit_vectors(x: Tensor) -> Tensor:
    """`x` [B, C, H, W] as [B, H, W, C] float32, each vector of length 1 (or 0)."""
    inner = x.permute(0, 2, 3, 1).float()
    length = inner.square().sum(dim=-1, keepdim=True)
    return (inner * torch.rsqrt(length + _TINY)).contiguous()
