"""Runs a model with torch, on a CPU or a GPU.

The number format is chosen by timing: bfloat16 is three times as fast as float32 on a CPU with AMX
and slower on one that must emulate it, and a name on the box does not tell which.
"""

import copy
import time
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gemino.config import OUTPUT_SIZES_PX, Sampling
from gemino.errors import ModelError, RuntimeUnavailable
from gemino.frames import Frame, resize
from gemino.nn.adapter import from_arrays, merged
from gemino.nn.model import GeminoNet, build
from gemino.rate import rung_vector
from gemino.runtime.holding import Holding, HoldingSynthesizer
from gemino.runtime.memory import keep_freed_memory
from gemino.runtime.programs import Held, Parts, Program, record, to_tensor
from gemino.sampling import glimpse
from gemino.zoo import ModelFiles

Precision = Literal["auto", "bfloat16", "float32"]
_SMALLER_PX = (768, 512, 384, 256)
_TIMED_RUNS = 3
_TIMED = Sampling(128)
_TIMED_OUTPUT_PX = 512  # not the largest: opening a model should not take seconds


class TorchSynthesizer(HoldingSynthesizer[Held]):
    """A model and its references. Before the first reference it upsamples classically.

    Of the references held, each picture takes its detail from the one that is most like it, and
    from none where even that one shows another scene.

    Several threads may call `synthesize` at a time.

    device: "auto" takes a GPU where there is one. threads: CPU threads a frame; more than one
    stall one another as soon as other processes compete for the cores.
    precision: "auto" times bfloat16 and float32 when opened and keeps the faster.
    Raises ModelError for weights that do not fit, RuntimeUnavailable for a missing device.
    """

    def __init__(
        self,
        files: ModelFiles,
        output_px: int,
        *,
        device: str = "auto",
        threads: int = 1,
        precision: Precision = "auto",
    ) -> None:
        if not OUTPUT_SIZES_PX[0] <= output_px <= OUTPUT_SIZES_PX[-1] or output_px % 8:
            raise ValueError(f"output_px must be a multiple of 8 in 256..1024, not {output_px}")
        super().__init__(output_px, (output_px, *(px for px in _SMALLER_PX if px < output_px)))
        self.name = files.title
        self.device = _device(device)
        self._threads = threads
        keep_freed_memory()
        cv2.setNumThreads(threads)  # for the whole process: OpenCV knows no other way
        model = load_network(files).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if precision == "auto":
            precision = self._faster(model)
        self._use(model, precision)
        self._time_frames()  # warms up: the first frame of a call should not take a second

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3] uint8, straightened.

        sampling: how the LR picture that was coded samples the full one.
        """
        torch.set_num_threads(self._threads)  # torch keeps this number for each calling thread
        chosen = self._holding.choose(lr, sampling)
        if chosen is None:
            return resize(lr, self.output_px)
        with torch.inference_mode():
            told = self._told(sampling, log2_bits_per_pixel, chosen.gate_limit)
            program = self._programs[lr.shape[0], chosen.size_px]
            return resize(program(lr, told, chosen.features), self.output_px)

    def parts(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Parts:
        """The steps of `synthesize` behind the choice of a reference, to be timed one by one.

        Wants a reference, and `torch.inference_mode` around each step. Steps on a GPU only begin
        there when they are called.
        """
        chosen = self._holding.choose(lr, sampling)
        if chosen is None:
            raise ValueError("a network's parts want a reference: call add_reference first")
        with torch.inference_mode():
            told = self._told(sampling, log2_bits_per_pixel, chosen.gate_limit)
            program = self._programs[lr.shape[0], chosen.size_px]
            return program.parts(lr, told, chosen.features)

    def _told(self, sampling: Sampling, log2_bits_per_pixel: float, gate_limit: float) -> Tensor:
        vector = rung_vector(sampling.size_px, log2_bits_per_pixel)
        return torch.tensor([[*vector, gate_limit]], device=self.device)

    def _prepare(self, reference: Frame, sampling: Sampling) -> Held:
        """A reference's features for this sampling; the program for them is there then."""
        torch.set_num_threads(self._threads)
        lr = glimpse(reference, sampling)
        sizes = lr.shape[0], reference.shape[0]
        with torch.inference_mode():
            features = self._model.encode_reference(
                to_tensor(reference, self.device), to_tensor(lr, self.device)
            )
            if sizes not in self._programs:
                self._programs[sizes] = record(self._model, features, sizes[0])
            return self._programs[sizes].hold(features)

    def _use(self, model: GeminoNet, precision: Precision) -> None:
        """Run `model` in this format: cast once, rather than at every layer of every frame."""
        self.precision = precision
        self._model = copy.deepcopy(model).bfloat16() if precision == "bfloat16" else model
        self._programs: dict[tuple[int, int], Program] = {}

    def _faster(self, model: GeminoNet) -> Precision:
        """The faster of both formats on this machine, now; a GPU that is used has bfloat16."""
        if self.device.type != "cpu":
            return "bfloat16"
        output_px, self.output_px = self.output_px, _TIMED_OUTPUT_PX
        self._holding = Holding(self._prepare, self.output_px)
        seconds: dict[Precision, float] = {}
        formats: tuple[Precision, Precision] = ("bfloat16", "float32")
        for precision in formats:
            self._use(model, precision)
            seconds[precision] = min(self._time_frames())
        self.output_px = output_px
        self._holding = Holding(self._prepare, output_px)
        return min(seconds, key=seconds.__getitem__)

    def _time_frames(self) -> list[float]:
        """Seconds of a few frames of noise; the first one, which warms up, is left out.

        CPU time of this thread, which does at least its share of the work: what else runs on a
        busy machine must not decide.
        """
        shape = (_TIMED.size_px, _TIMED.size_px, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.add_reference(noise)
        stamps = []
        for _ in range(_TIMED_RUNS + 1):
            self.synthesize(noise, _TIMED, -5.0)
            stamps.append(time.thread_time())
        self._holding = Holding(self._prepare, self.output_px)
        return [after - before for before, after in pairwise(stamps)]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise RuntimeUnavailable(f"device {name!r} is unknown; use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable("this machine has no usable CUDA device; use auto or cpu")
    return torch.device(name)


def load_network(files: ModelFiles) -> GeminoNet:
    """The network with its weights, an adapter merged; ModelError where they do not fit."""
    model = build(files.config)
    try:
        model.load_state_dict(load_file(files.weights_path))
    except (SafetensorError, RuntimeError, OSError) as exc:
        reason = str(exc).splitlines()[0]
        raise ModelError(
            f"{files.weights_path}: are no weights of size {files.config.size!r} ({reason}); "
            "fetch the model again"
        ) from exc
    if files.adapter is not None:
        model = merged(model, from_arrays(files.adapter.tensors))
    return model.eval()
