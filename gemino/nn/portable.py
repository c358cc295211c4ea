"""What ONNX lacks, or onnxruntime does slowly, from operations that it has and does fast.

`nn.warp` and `nn.blocks` go through here while a network is being exported, and nowhere else.
GridSample takes longer than four Gathers of whole feature vectors and their mixture, and ONNX
cannot say `as_strided`. Sizes are plain numbers here, not operations of the graph.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor


def gathered(x: Tensor, flow: Tensor) -> Tensor:
    """`nn.warp.warp` of one picture `x` [1, C, H, W] along `flow` [1, 2, H, W]."""
    channels, height, width = map(int, x.shape[1:])
    across = torch.arange(width, dtype=flow.dtype) + flow[0, 0] * width
    down = torch.arange(height, dtype=flow.dtype)[:, None] + flow[0, 1] * height
    across, down = across.clamp(0, width - 1), down.clamp(0, height - 1)
    left, top = across.floor(), down.floor()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    vectors = x[0].permute(1, 2, 0).reshape(height * width, channels)

    def at(y: Tensor, x: Tensor) -> Tensor:
        return vectors.index_select(0, (y * width + x).flatten().to(torch.int32))

    along = (across - left).reshape(-1, 1)
    upper = _mix(at(top, left), at(top, right), along)
    lower = _mix(at(bottom, left), at(bottom, right), along)
    mixed = _mix(upper, lower, (down - top).reshape(-1, 1))
    return mixed.reshape(1, height, width, channels).permute(0, 3, 1, 2)


def diagonals(product: Tensor, size: int) -> Tensor:
    """Elements (x, x + dx) of each matrix of `product` [..., W, W + size - 1] as [..., W, size].

    Behind as many padded elements as there are rows, each row of the same numbers is one longer:
    what was a diagonal is a column then.
    """
    *outer, width, span = map(int, product.shape)
    longer = functional.pad(product.reshape(*outer, width * span), [0, width])
    return longer.reshape(*outer, width, span + 1)[..., :size]


def averaged(x: Tensor, size: int) -> Tensor:
    """`x` [B, C, H, W] at [B, C, size, size] by area; H and W are multiples of `size`."""
    return functional.avg_pool2d(x, int(x.shape[-1]) // int(size))


def _mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return first + (second - first) * share
