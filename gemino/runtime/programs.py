"""A network recorded for one LR size, ready to make frames.

Seven hundred small operations called from Python would each wait for the interpreter's lock,
which the call's other threads hold most of the time; a recorded program never takes it.

On a CPU the network is recorded in two halves, and OpenCV does what lies between and behind them
at full scale; on a GPU all of it is one program.
"""

import threading
import warnings
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gemino.frames import Frame
from gemino.nn.generator import ReferenceFeatures
from gemino.nn.model import GeminoNet
from gemino.nn.motion import Pyramid
from gemino.nn.pictures import to_tensor
from gemino.runtime.fullscale import Bands, Detail, Plane, compose, grid, warp_band
from gemino.runtime.origins import CELLS, Origins, origins

Parts = dict[str, Callable[[], object]]
_Traced = Callable[..., tuple[Tensor, ...]]
_CPU = torch.device("cpu")
_WARM_UP_RUNS = 2
"""The first runs of a recorded program specialise it, at several times a frame's cost."""


class Held(NamedTuple):
    """A reference's features as a program takes them.

    tensors: what goes into the recorded program. detail: what goes past it, on a CPU.
    """

    tensors: tuple[Tensor, ...]
    detail: Detail


class Program(Protocol):
    """Makes frames of one LR size."""

    def hold(self, features: ReferenceFeatures, detail: Detail) -> Held:
        """Make a reference's features and detail ready, once for each."""

    def __call__(self, lr: Frame, told: Tensor, held: Held) -> Frame:
        """The picture uint8 [S, S, 3] for `lr` [s, s, 3] and a reference.

        told: [1, 3] on the CPU, the rung's vector and how far the gates may open, 0..1.
        """

    def explain(self, lr: Frame, told: Tensor, held: Held) -> tuple[Frame, Origins]:
        """That picture, and where its detail comes from."""

    def parts(self, lr: Frame, told: Tensor, held: Held) -> Parts:
        """The steps of that call by name, in order; each can be repeated alone, to be timed."""


def record(model: GeminoNet, features: ReferenceFeatures, lr_px: int, bands: Bands) -> Program:
    """The frame program of `model` for this LR size and the device that `features` are on.

    bands: kept of the references in use, by all programs together.
    """
    if features.band.device.type == "cpu":
        return _OnCpu(model, features, lr_px, bands)
    return OnDevice(model, features, lr_px)


class _OnCpu:
    """Two recorded halves, and full scale by OpenCV."""

    def __init__(
        self, model: GeminoNet, features: ReferenceFeatures, lr_px: int, bands: Bands
    ) -> None:
        size = features.band.shape[-1]
        self._bands = bands
        self._places = grid(size)
        lr, told = torch.zeros(1, 3, lr_px, lr_px), torch.zeros(1, 3)
        inputs = (lr, told, *_small(features))
        self._align = _trace(_Align(model, size), inputs)
        fused = self._align(*inputs)[2]
        band = torch.zeros(1, size, size, 3).permute(0, 3, 1, 2)
        self._draw = _trace(_Draw(model), (fused, band))

    def hold(self, features: ReferenceFeatures, detail: Detail) -> Held:
        return Held(_small(features), detail)

    def __call__(self, lr: Frame, told: Tensor, held: Held) -> Frame:
        return compose(lr, *self._layers(lr, told, held))

    def explain(self, lr: Frame, told: Tensor, held: Held) -> tuple[Frame, Origins]:
        band, blocks = self._layers(lr, told, held)
        return compose(lr, band, blocks), origins(band, blocks)

    def _layers(self, lr: Frame, told: Tensor, held: Held) -> tuple[Plane, Plane]:
        """What lies over the upsampled LR picture (`fullscale.compose`)."""
        flow, gate, fused = self._align(to_tensor([lr]), told, *held.tensors)
        to_warp = self._bands.of(held.detail)
        band = warp_band(to_warp, flow.numpy(), gate.numpy(), self._places)
        (blocks,) = self._draw(fused, torch.from_numpy(band).permute(2, 0, 1)[None])
        return band, blocks.numpy()

    def parts(self, lr: Frame, told: Tensor, held: Held) -> Parts:
        to_warp = self._bands.of(held.detail)
        inputs = (to_tensor([lr]), told, *held.tensors)
        flow, gate, fused = self._align(*inputs)
        band = warp_band(to_warp, flow.numpy(), gate.numpy(), self._places)
        seen = torch.from_numpy(band).permute(2, 0, 1)[None]
        (blocks,) = self._draw(fused, seen)
        return {
            "align half": lambda: self._align(*inputs),
            "band warp": lambda: warp_band(to_warp, flow.numpy(), gate.numpy(), self._places),
            "draw half": lambda: self._draw(fused, seen),
            "compose": lambda: compose(lr, band, blocks.numpy()),
        }


class OnDevice:
    """All in one, on a GPU: what a frame needs goes up, and the picture comes down.

    Everything lies where it always lies, so that a CUDA graph can replay the seven hundred kernels
    of a frame as one launch; where there are no such graphs, they are launched one by one. One
    frame at a time: several threads take turns.
    """

    def __init__(self, model: GeminoNet, features: ReferenceFeatures, lr_px: int) -> None:
        device = features.band.device
        size_px = features.band.shape[-1]
        on_cuda = device.type == "cuda"
        self._device = device
        self._lock = threading.Lock()
        self._loaded: Held | None = None
        self._lr_here = torch.zeros(lr_px, lr_px, 3, dtype=torch.uint8, pin_memory=on_cuda)
        self._told_here = torch.zeros(1, 3, pin_memory=on_cuda)
        self._picture_here = torch.zeros(size_px, size_px, 3, dtype=torch.uint8, pin_memory=on_cuda)
        self._lr = torch.zeros_like(self._lr_here, device=device)
        self._told = torch.zeros_like(self._told_here, device=device)
        self._features = tuple(tensor.clone() for tensor in (features.band, *_small(features)))
        self._whole = _Whole(model).eval()
        self._draw = self._captured() if on_cuda else self._run
        self._picture = self._draw()

    def hold(self, features: ReferenceFeatures, detail: Detail) -> Held:
        return Held((features.band, *_small(features)), detail)

    def __call__(self, lr: Frame, told: Tensor, held: Held) -> Frame:
        with self._lock:
            return self._show(lr, told, held)

    def explain(self, lr: Frame, told: Tensor, held: Held) -> tuple[Frame, Origins]:
        with self._lock:
            picture = self._show(lr, told, held)
            levels = self._whole.levels(self._lr, self._told, *self._features)
            return picture, levels.cpu().numpy()

    def _show(self, lr: Frame, told: Tensor, held: Held) -> Frame:
        self._upload(lr, told, held)
        self._picture = self._draw()
        self._download()
        return self._picture_here.numpy().copy()

    def parts(self, lr: Frame, told: Tensor, held: Held) -> Parts:
        self._upload(lr, told, held)
        self._picture = self._draw()
        return {
            "upload": lambda: self._upload(lr, told, held),
            "network": self._draw,
            "download": self._download,
        }

    def _upload(self, lr: Frame, told: Tensor, held: Held) -> None:
        self._lr_here.copy_(torch.from_numpy(np.ascontiguousarray(lr)))
        self._told_here.copy_(told)
        self._lr.copy_(self._lr_here, non_blocking=True)
        self._told.copy_(self._told_here, non_blocking=True)
        if self._loaded is not held:
            for place, tensor in zip(self._features, held.tensors, strict=True):
                place.copy_(tensor)
            self._loaded = held

    def _download(self) -> None:
        self._picture_here.copy_(self._picture, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def _run(self) -> Tensor:
        picture: Tensor = self._whole(self._lr, self._told, *self._features)
        return picture

    def _captured(self) -> Callable[[], Tensor]:
        """A CUDA graph of `_run`, recorded after runs that choose algorithms and take memory.

        https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
        """
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.backends.cudnn.flags(enabled=True, benchmark=True):
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_RUNS):
                    self._run()
            torch.cuda.current_stream(self._device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                picture = self._run()

        def replay() -> Tensor:
            graph.replay()
            return picture

        return replay


class _Align(nn.Module):
    """Flow [Q, Q, 2] in pixels of full scale, gate [Q, Q] and fused features [1, C, Q, Q]."""

    def __init__(self, model: GeminoNet, size_px: int) -> None:
        super().__init__()
        self.model = model
        self.size_px = size_px

    def forward(self, lr: Tensor, told: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        quarter, eighth, *pyramid = features
        nowhere = quarter.new_empty(0)  # the band is not needed in this half
        reference = ReferenceFeatures(quarter, eighth, nowhere, Pyramid(*pyramid))
        aligned = self.model.align(reference, lr, *_split(told))
        flow = aligned.flow[0].permute(1, 2, 0).float() * self.size_px
        return flow.contiguous(), aligned.gate[0, 0].float(), aligned.fused


class _Draw(nn.Module):
    """The residual as blocks [Q, Q, 48] in 0..255, from fused features and the band in 0..255."""

    def __init__(self, model: GeminoNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, fused: Tensor, band: Tensor) -> tuple[Tensor, ...]:
        blocks = self.model.generator.draw(fused, band * (1 / 255))
        return (blocks[0].permute(1, 2, 0).float().contiguous() * 255,)


class _Whole(nn.Module):
    """The picture uint8 [S, S, 3], from the LR picture as it lies in memory, uint8 [s, s, 3]."""

    def __init__(self, model: GeminoNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, lr: Tensor, told: Tensor, *features: Tensor) -> Tensor:
        reference, seen = self._inputs(lr, features)
        picture = self.model.explain(reference, seen, *_split(told)).frame[0].permute(1, 2, 0)
        return (picture * 255 + 0.5).to(torch.uint8).contiguous()

    def levels(self, lr: Tensor, told: Tensor, *features: Tensor) -> Tensor:
        """Where the picture's detail comes from (`runtime.origins`)."""
        reference, seen = self._inputs(lr, features)
        shares = self.model.contributions(reference, seen, *_split(told), CELLS)[0]
        return (shares.permute(1, 2, 0) * 255 + 0.5).clamp(0, 255).to(torch.uint8)

    def _inputs(self, lr: Tensor, features: tuple[Tensor, ...]) -> tuple[ReferenceFeatures, Tensor]:
        band, quarter, eighth, *pyramid = features
        reference = ReferenceFeatures(quarter, eighth, band, Pyramid(*pyramid))
        return reference, lr.permute(2, 0, 1).unsqueeze(0).float() / 255


def _split(told: Tensor) -> tuple[Tensor, Tensor]:
    """The rung's vector [1, 2] and the gate limit; without dimensions that changes no dtype."""
    return told[:, :2], told[0, 2]


def _small(features: ReferenceFeatures) -> tuple[Tensor, ...]:
    """What is not at full scale, as plain tensors: recording takes nothing else."""
    return (features.quarter, features.eighth, *features.pyramid)


def _trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> _Traced:
    with warnings.catch_warnings():
        # Sizes become constants, as they should: there is a program for each.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module.eval(), inputs, check_trace=False)  # type: ignore[no-untyped-call]
        program: _Traced = torch.jit.freeze(traced)
    for _ in range(_WARM_UP_RUNS):
        program(*inputs)
    return program
