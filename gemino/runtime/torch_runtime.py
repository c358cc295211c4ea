"""Runs a model with torch, on a CPU or a GPU.

The number format is chosen by timing: bfloat16 is three times as fast as float32 on a CPU with AMX
and slower on one that must emulate it, and a name on the box does not tell which.
"""

import copy
from collections.abc import Mapping

import cv2
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gemino.config import OUTPUT_SIZES_PX, Sampling
from gemino.errors import ModelError, RuntimeUnavailable
from gemino.frames import Frame, resize
from gemino.nn.adapter import from_arrays, merged
from gemino.nn.model import GeminoNet, build
from gemino.nn.pictures import to_tensor
from gemino.rate import rung_vector
from gemino.runtime.base import Drawing, Precision
from gemino.runtime.fullscale import Bands, Detail
from gemino.runtime.memory import give_back_memory, keep_freed_memory
from gemino.runtime.neural import NeuralSynthesizer
from gemino.runtime.origins import Origins
from gemino.runtime.programs import Held, Parts, Program, record
from gemino.runtime.timings import frame_s
from gemino.sampling import glimpse
from gemino.zoo import ModelFiles

_SMALLER_PX = (768, 512, 384, 256)
_TIMED_RUNS = 3
_LIKELY = Sampling(128)  # of calls at 6 to 24 kbps
_TIMED_OUTPUT_PX = 512  # not the largest: opening a model should not take seconds
_Key = tuple[str, int, int]
"""Of a program: model, side of the straightened LR picture, side of the picture drawn."""


class TorchSynthesizer(NeuralSynthesizer[Held]):
    """A model and its references. Before the first reference it upsamples classically.

    Of the references held, each picture takes its detail from the one that is most like it, and
    from none where even that one shows another scene.

    Several threads may call `synthesize` at a time.

    lighter: a model that may draw in its place where time is short (`drawings`). device: "auto"
    takes a CUDA device where there is one. threads: CPU threads a frame; more than one stall one
    another as soon as other processes compete for the cores. precision: "auto" takes the faster of
    bfloat16 and float32, as timed here before (`runtime.timings`) or now. fresh: time now.
    Raises ModelError for weights that do not fit, RuntimeUnavailable for a missing device.
    """

    def __init__(
        self,
        files: ModelFiles,
        output_px: int,
        *,
        lighter: ModelFiles | None = None,
        device: str = "auto",
        threads: int = 1,
        precision: Precision = "auto",
        fresh: bool = False,
    ) -> None:
        if not OUTPUT_SIZES_PX[0] <= output_px <= OUTPUT_SIZES_PX[-1] or output_px % 8:
            raise ValueError(f"output_px must be a multiple of 8 in 256..1024, not {output_px}")
        self.name = files.title
        super().__init__(output_px, (Drawing(self.name, output_px),))
        self.device = _device(device)
        self._bands = Bands()
        self._threads = threads
        self._fresh = fresh
        keep_freed_memory()
        cv2.setNumThreads(threads)  # for the whole process: OpenCV knows no other way
        family = [files] if lighter is None else [files, lighter]
        self._checksums = {each.title: each.sha256 for each in family}
        models = {
            each.title: load_network(each).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for each in family
        }
        self._use(models, self._faster(models) if precision == "auto" else precision)
        self.way = f"torch, {self.device.type}, {self.precision}"
        self.drawings = self._drawings(lighter)
        self._holding = self._hold_none()
        self.expect(_LIKELY)  # the first frame of a call should not take a second
        self._holding = self._hold_none()

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3] uint8, straightened.

        sampling: how the LR picture that was coded samples the full one.
        """
        call = self._chosen(lr, sampling, log2_bits_per_pixel)
        if call is None:
            return resize(lr, self.output_px)
        program, told, held = call
        with torch.inference_mode():
            return resize(program(lr, told, held), self.output_px)

    def explain(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Frame, Origins | None]:
        """`synthesize`, and where the detail comes from; None where no network drew."""
        call = self._chosen(lr, sampling, log2_bits_per_pixel)
        if call is None:
            return resize(lr, self.output_px), None
        program, told, held = call
        with torch.inference_mode():
            picture, origins = program.explain(lr, told, held)
            return resize(picture, self.output_px), origins

    def parts(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Parts:
        """The steps of `synthesize` behind the choice of a reference, to be timed one by one.

        Wants a reference, and `torch.inference_mode` around each step. Steps on a GPU only begin
        there when they are called.
        """
        call = self._chosen(lr, sampling, log2_bits_per_pixel)
        if call is None:
            raise ValueError("a network's parts want a reference: call add_reference first")
        program, told, held = call
        with torch.inference_mode():
            return program.parts(lr, told, held)

    def _chosen(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Program, Tensor, Held] | None:
        """What draws this picture, and with what; None without a reference."""
        torch.set_num_threads(self._threads)  # torch keeps this number for each calling thread
        chosen = self._holding.choose(lr, sampling)
        if chosen is None:
            return None
        vector = rung_vector(sampling.size_px, log2_bits_per_pixel, chosen.drawing.size_px)
        told = torch.tensor([[*vector, chosen.gate_limit]])
        return self._programs[_key(lr, chosen.drawing)], told, chosen.features

    def _prepare(self, reference: Frame, sampling: Sampling, drawing: Drawing) -> Held:
        """A reference's features for this sampling; the program for them is there then."""
        torch.set_num_threads(self._threads)
        lr = glimpse(reference, sampling)
        model, key = self._models[drawing.model], _key(lr, drawing)
        with torch.inference_mode():
            features = model.encode_reference(
                to_tensor([reference], self.device), to_tensor([lr], self.device)
            )
            if key not in self._programs:
                self._programs[key] = record(model, features, lr.shape[0], self._bands)
                give_back_memory()
            return self._programs[key].hold(features, Detail(reference, lr))

    def _use(self, models: Mapping[str, GeminoNet], precision: Precision) -> None:
        """Run `models` in this format: cast once, rather than at every layer of every frame."""
        self.precision = precision
        low = precision == "bfloat16"
        self._models = {n: copy.deepcopy(m).bfloat16() if low else m for n, m in models.items()}
        self._programs: dict[_Key, Program] = {}

    def _drawings(self, lighter: ModelFiles | None) -> tuple[Drawing, ...]:
        """The model at full size, the lighter one likewise, then the lightest at smaller sizes."""
        full = self.drawings[0]
        if lighter is not None:
            spent = {name: self._timed_s(name, self.precision) for name in self._models}
            share = min(spent[lighter.title] / spent[full.model], 1.0)
            light = Drawing(lighter.title, self.output_px, share)
        else:
            light = full
        smaller = [
            Drawing(light.model, px, light.cost * (px / self.output_px) ** 2)
            for px in _SMALLER_PX
            if px < self.output_px
        ]
        return (full, *([] if lighter is None else [light]), *smaller)

    def _faster(self, models: Mapping[str, GeminoNet]) -> Precision:
        """The faster of both formats on this machine; a CUDA device that is used has bfloat16."""
        if self.device.type != "cpu":
            return "bfloat16" if self.device.type == "cuda" else "float32"
        seconds: dict[Precision, float] = {}
        formats: tuple[Precision, Precision] = ("bfloat16", "float32")
        for precision in formats:
            self._use(models, precision)
            seconds[precision] = self._timed_s(self.name, precision)
        return min(seconds, key=seconds.__getitem__)

    def _timed_s(self, name: str, precision: Precision) -> float:
        """Seconds of a frame of that model at one size, in the format in use: for comparison."""
        drawing = Drawing(name, _TIMED_OUTPUT_PX)

        def measure() -> float:
            return self._frame_s(drawing, _TIMED_RUNS)

        if self._fresh or self.device.type != "cpu":
            return measure()
        what = f"{self._checksums[name][:16]} {_TIMED_OUTPUT_PX} px torch {precision}"
        return frame_s(f"{what} x{self._threads}", measure)


def _key(lr: Frame, drawing: Drawing) -> _Key:
    return drawing.model, lr.shape[0], drawing.size_px


def _device(name: str) -> torch.device:
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if name not in there:
        raise RuntimeUnavailable(f"device {name!r} is unknown; use auto, {', '.join(there)}")
    if not there[name]:
        raise RuntimeUnavailable(f"this machine has no usable {name} device; use auto or cpu")
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
