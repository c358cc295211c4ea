"""From a network to graphs for onnxruntime.

Three graphs for one output size S, each with the layouts of pictures as they lie in memory:

    encode  reference [1, S, S, 3], lr_coarse, lr_quarter -> quarter, eighth, at64, at32, at16
    align   lr_coarse, lr_quarter, lr_half, told, and what encode made
            -> flow [S/4, S/4, 2], gate [S/4, S/4], fused [1, C, S/4, S/4]
    draw    fused, band [1, S, S, 3] -> blocks [S/4, S/4, 48]

Pictures, flow (pixels of full scale), band and blocks are in the units of `runtime.fullscale`,
0..255. An LR picture enters at the three sizes at which the network looks at it, [1, s, s, 3] with
s of 128, S/4 and S/2: so one export serves every LR size. told [1, 3]: the rung's vector, and how
far the gates may open.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gemino.graphs import GRAPH_NAMES, graph_path
from gemino.nn.generator import ReferenceFeatures, Views
from gemino.nn.model import GeminoNet
from gemino.nn.motion import INPUT_PX, Pyramid
from gemino.runtime.onnx_runtime import FEATURES
from gemino.runtime.quantize import check, fold
from gemino.runtime.torch_runtime import load_network
from gemino.zoo import ModelFiles

_OPSET = 20
_VIEWS = ("lr_coarse", "lr_quarter", "lr_half")


def write_graphs(files: ModelFiles, output_px: int, folder: Path) -> None:
    """Write the three graphs of a model for pictures of this size into `folder`, in float32.

    Raises ModelError for weights that do not fit, RuntimeUnavailable without the package onnx.
    """
    check()
    model = load_network(files)
    with torch.no_grad():
        views = [
            torch.zeros(1, side, side, 3) for side in (INPUT_PX, output_px // 4, output_px // 2)
        ]
        reference, told = torch.zeros(1, output_px, output_px, 3), torch.zeros(1, 3)
        encode, align, draw = _Encode(model), _Align(model, output_px), _Draw(model)
        inputs = (*views, told, *encode(reference, *views[:2]))
        fused = align(*inputs)[2]
    paths = [graph_path(folder, name) for name in GRAPH_NAMES]
    _write(paths[0], encode, (reference, *views[:2]), ("reference", *_VIEWS[:2]), FEATURES)
    _write(paths[1], align, inputs, (*_VIEWS, "told", *FEATURES), ("flow", "gate", "fused"))
    _write(paths[2], draw, (fused, reference), ("fused", "band"), ("blocks",))


def _write(
    path: Path,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # Sizes become constants, as they should; and of torch's two exporters the older one, which
        # it warns of, writes half as many operations and needs no further package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            input_names=list(names),
            output_names=list(outputs),
            opset_version=_OPSET,
            dynamo=False,
        )
    fold(path)


def _planes(picture: Tensor) -> Tensor:
    """[1, H, W, 3] in 0..255 as [1, 3, H, W] in 0..1."""
    return picture.permute(0, 3, 1, 2) * (1 / 255)


class _Encode(nn.Module):
    def __init__(self, model: GeminoNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, reference: Tensor, coarse: Tensor, quarter: Tensor) -> tuple[Tensor, ...]:
        features = self.model.encode_small(_planes(reference), _planes(coarse), _planes(quarter))
        return (features[0], features[1], *features[2])


class _Align(nn.Module):
    def __init__(self, model: GeminoNet, size_px: int) -> None:
        super().__init__()
        self.model = model
        self.size_px = size_px

    def forward(
        self, coarse: Tensor, quarter: Tensor, half: Tensor, told: Tensor, *features: Tensor
    ) -> tuple[Tensor, ...]:
        views = Views(_planes(coarse), _planes(quarter), _planes(half))
        first, second, *pyramid = features
        nowhere = first.new_empty(0)  # the band is not needed in this half
        reference = ReferenceFeatures(first, second, nowhere, Pyramid(*pyramid))
        aligned = self.model.align_views(reference, views, told[:, :2], told[0, 2])
        flow = aligned.flow[0].permute(1, 2, 0) * self.size_px
        return flow, aligned.gate[0, 0], aligned.fused


class _Draw(nn.Module):
    def __init__(self, model: GeminoNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, fused: Tensor, band: Tensor) -> Tensor:
        blocks = self.model.generator.draw(fused, _planes(band))
        return blocks[0].permute(1, 2, 0) * 255
