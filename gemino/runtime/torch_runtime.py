"""Runs a model with torch, on a CPU or a GPU.

What depends on the reference alone is computed once for each reference and LR size. The number
format is chosen by timing: bfloat16 is three times as fast as float32 on a CPU with AMX and
slower on one that must emulate it, and a name on the box does not tell which.
"""

import copy
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gemino.config import MIN_LR_PX, OUTPUT_SIZES_PX
from gemino.errors import ModelError, RuntimeUnavailable
from gemino.frames import Frame, resize
from gemino.nn.generator import ReferenceFeatures
from gemino.nn.model import GeminoNet, build, rung_vector
from gemino.nn.motion import Pyramid
from gemino.runtime.memory import keep_freed_memory
from gemino.zoo import ModelFiles

Precision = Literal["auto", "bfloat16", "float32"]
_Traced = Callable[..., Tensor]
_TRACE_WARM_UP_RUNS = 2
"""The first runs of a traced program specialise it, at several times a frame's cost."""
_KEPT_LR_SIZES = 2
"""A call hops between two neighbouring rungs; features of more would only fill memory."""
_TIMED_RUNS = 3
_TIMED_LR_PX = 128
_TIMED_OUTPUT_PX = 512  # not the largest: opening a model should not take seconds


class TorchSynthesizer:
    """A model and its reference. Before the first reference it upsamples classically.

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
        self.name = files.config.name
        self.output_px = output_px
        self.device = _device(device)
        self._threads = threads
        self._preparing = threading.Lock()
        keep_freed_memory()
        model = _load(files).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._reference: Tensor | None = None
        self._features: OrderedDict[int, ReferenceFeatures] = OrderedDict()
        if precision == "auto":
            precision = self._faster(model)
        self._use(model, precision)
        self._time_frames()  # warms up: the first frame of a call should not take a second

    @property
    def neural(self) -> bool:
        return self._reference is not None

    def set_reference(self, reference: Frame | None) -> None:
        """Keep `reference`, square RGB of any size, for the pictures to come."""
        tensor = None if reference is None else self._tensor(resize(reference, self.output_px))
        with self._preparing:
            self._features.clear()
            self._reference = tensor

    def synthesize(self, lr: Frame, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3] uint8."""
        torch.set_num_threads(self._threads)  # torch keeps this number for each calling thread
        with torch.inference_mode():
            prepared = self._prepared(lr.shape[0])
            if prepared is None:
                return resize(lr, self.output_px)
            features, network = prepared
            rung = torch.tensor([rung_vector(lr.shape[0], log2_bits_per_pixel)], device=self.device)
            picture = network(self._tensor(lr), rung, *_flat(features))[0]
            planes = picture.cpu().numpy()  # float32 [3, S, S] in 0..1
        # OpenCV scales, rounds and saturates in one pass, where torch takes one for each (and
        # interleaves byte by byte): at 1024 px every pass over the picture costs a millisecond.
        pixels = [cv2.convertScaleAbs(plane, alpha=255.0) for plane in planes]
        return np.asarray(cv2.merge(pixels), np.uint8)

    def _prepared(self, lr_px: int) -> tuple[ReferenceFeatures, _Traced] | None:
        """The reference's features for this LR size, and the network recorded for it.

        None where there is no reference yet, or the picture is too small for the network.
        """
        with self._preparing:
            if self._reference is None or lr_px < MIN_LR_PX:
                return None
            features = self._features.get(lr_px)
            if features is None:
                features = self._model.encode_reference(self._reference, lr_px)
                if lr_px not in self._traced:
                    self._traced[lr_px] = _trace(self._model, features, lr_px)
                self._features[lr_px] = features
                if len(self._features) > _KEPT_LR_SIZES:
                    self._features.popitem(last=False)
            return features, self._traced[lr_px]

    def _tensor(self, frame: Frame) -> Tensor:
        """`frame` [S, S, 3] as [1, 3, S, S] in 0..1, channels last as its bytes lie."""
        pixels = torch.from_numpy(np.array(frame)).to(self.device)
        return pixels.permute(2, 0, 1).unsqueeze(0).float().div_(255.0)

    def _use(self, model: GeminoNet, precision: Precision) -> None:
        """Run `model` in this format: cast once, rather than at every layer of every frame."""
        self.precision = precision
        self._model = copy.deepcopy(model).bfloat16() if precision == "bfloat16" else model
        self._traced: dict[int, _Traced] = {}

    def _faster(self, model: GeminoNet) -> Precision:
        """The faster of both formats on this machine, now; a GPU that is used has bfloat16."""
        if self.device.type != "cpu":
            return "bfloat16"
        output_px, self.output_px = self.output_px, _TIMED_OUTPUT_PX
        seconds: dict[Precision, float] = {}
        formats: tuple[Precision, Precision] = ("bfloat16", "float32")
        for precision in formats:
            self._use(model, precision)
            seconds[precision] = min(self._time_frames())
        self.output_px = output_px
        return min(seconds, key=seconds.__getitem__)

    def _time_frames(self) -> list[float]:
        """Seconds of a few frames of noise; the first one, which warms up, is left out.

        CPU time of this thread, which does at least its share of the work: what else runs on a
        busy machine must not decide.
        """
        noise = np.random.default_rng(0).integers(0, 256, (_TIMED_LR_PX,) * 2 + (3,), np.uint8)
        self.set_reference(noise)
        stamps = []
        for _ in range(_TIMED_RUNS + 1):
            self.synthesize(noise, -5.0)
            stamps.append(time.thread_time())
        self.set_reference(None)
        return [after - before for before, after in pairwise(stamps)]


class _OneFrame(nn.Module):
    """A frame's synthesis as a function of plain tensors, which is what tracing records."""

    def __init__(self, model: GeminoNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, lr: Tensor, rung: Tensor, *features: Tensor) -> Tensor:
        quarter, eighth, band, low, *pyramid = features
        whole = ReferenceFeatures(quarter, eighth, band, low, Pyramid(*pyramid))
        return self.model.synthesize(whole, lr, rung)


def _flat(features: ReferenceFeatures) -> tuple[Tensor, ...]:
    return (*features[:4], *features.pyramid)


def _trace(model: GeminoNet, features: ReferenceFeatures, lr_px: int) -> _Traced:
    """The network as one recorded program for this LR size.

    Seven hundred small operations called from Python would each wait for the interpreter's lock,
    which the call's other threads hold most of the time; the recorded program never takes it.
    """
    device = features.band.device
    example = (torch.zeros(1, 3, lr_px, lr_px, device=device), torch.zeros(1, 2, device=device))
    inputs = (*example, *_flat(features))
    with warnings.catch_warnings():
        # Sizes become constants, as they should: there is a program for each.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_OneFrame(model).eval(), inputs, check_trace=False)  # type: ignore[no-untyped-call]
        network: _Traced = torch.jit.freeze(traced)
    for _ in range(_TRACE_WARM_UP_RUNS):
        network(*inputs)
    return network


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise RuntimeUnavailable(f"device {name!r} is unknown; use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable("this machine has no usable CUDA device; use auto or cpu")
    return torch.device(name)


def _load(files: ModelFiles) -> GeminoNet:
    model = build(files.config)
    try:
        model.load_state_dict(load_file(files.weights_path))
    except (SafetensorError, RuntimeError, OSError) as exc:
        reason = str(exc).splitlines()[0]
        raise ModelError(
            f"{files.weights_path}: are no weights of size {files.config.size!r} ({reason}); "
            "fetch the model again"
        ) from exc
    return model.eval()
