"""Runs an exported model with onnxruntime on a CPU; torch is not needed.

`gemino.runtime.export` says what the graphs do. Between and behind them OpenCV does what lies at
full scale, as it does for torch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.config import Sampling
from gemino.errors import ModelError, RuntimeUnavailable
from gemino.frames import Frame, resize
from gemino.graphs import GRAPH_NAMES, Graphs
from gemino.rate import rung_vector
from gemino.runtime.base import Drawing
from gemino.runtime.fullscale import Bands, Detail, Plane, compose, grid, warp_band
from gemino.runtime.memory import keep_freed_memory
from gemino.runtime.neural import NeuralSynthesizer
from gemino.runtime.origins import Origins, origins
from gemino.runtime.views import view
from gemino.sampling import glimpse
from gemino.zoo import ModelFiles

Array = NDArray[np.float32]
Graph = Callable[[Mapping[str, Array]], list[Array]]
"""Takes arrays by the names of the graph's inputs, gives its outputs in order."""

COARSE_PX = 128
"""Motion is estimated from LR pictures of this side (`nn.motion.INPUT_PX`)."""
FEATURES = ("quarter", "eighth", "at64", "at32", "at16")
"""What the graph `encode` makes of a reference and `align` takes (`nn.generator`)."""
_QUIET = 4  # only what is fatal; everything else arrives as an exception


class _Held(NamedTuple):
    """A reference's features by name, and what its high-frequency band is made from."""

    features: dict[str, Array]
    detail: Detail


class OnnxSynthesizer(NeuralSynthesizer[_Held]):
    """An exported model and its references; as `TorchSynthesizer` in every other respect.

    graphs: by name; whoever wants to see what goes through one may wrap it. threads: CPU threads
    a frame. Raises ModelError for graphs that are damaged, cannot be run, or do not fit,
    RuntimeUnavailable where onnxruntime is missing or the export is of another output size.
    """

    def __init__(self, files: ModelFiles, output_px: int, *, threads: int = 1) -> None:
        stored = files.graphs
        if stored is None:
            raise RuntimeUnavailable(
                f"{files.path}: holds no graphs for onnxruntime; make some with gemino export, and "
                "name their folder as the model"
            )
        if output_px != stored.output_px:
            raise RuntimeUnavailable(
                f"{files.path}: draws pictures of {stored.output_px} px, not {output_px}; "
                f"export the model with --size {output_px}"
            )
        self.name = files.config.name
        super().__init__(output_px, (Drawing(self.name, output_px),))  # its graphs draw one size
        self.precision = stored.precision
        self.way = f"onnxruntime, cpu, {stored.precision}"
        keep_freed_memory()
        cv2.setNumThreads(threads)  # for the whole process: OpenCV knows no other way
        self._places = grid(output_px)
        self._bands = Bands()
        self.graphs: dict[str, Graph] = {name: _open(stored, name, threads) for name in GRAPH_NAMES}
        self._warm_up(stored)

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        """The picture [output_px, output_px, 3] for `lr` [s, s, 3] uint8, straightened.

        sampling: how the LR picture that was coded samples the full one.
        """
        layers = self._layers(lr, sampling, log2_bits_per_pixel)
        return resize(lr, self.output_px) if layers is None else compose(lr, *layers)

    def explain(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Frame, Origins | None]:
        """`synthesize`, and where the detail comes from; None where no network drew."""
        layers = self._layers(lr, sampling, log2_bits_per_pixel)
        if layers is None:
            return resize(lr, self.output_px), None
        return compose(lr, *layers), origins(*layers)

    def _layers(
        self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
    ) -> tuple[Plane, Plane] | None:
        """What lies over the upsampled LR picture (`fullscale.compose`), where something does."""
        chosen = self._holding.choose(lr, sampling)
        if chosen is None:
            return None
        held = chosen.features
        rung = rung_vector(sampling.size_px, log2_bits_per_pixel, self.output_px)
        told = [*rung, chosen.gate_limit]
        pixels = lr.astype(np.float32)
        seen = {
            "lr_coarse": _batch(view(pixels, COARSE_PX)),
            "lr_quarter": _batch(view(pixels, self.output_px // 4)),
            "lr_half": _batch(view(pixels, self.output_px // 2)),
            "told": np.array([told], np.float32),
        }
        flow, gate, fused = self.graphs["align"](seen | held.features)
        band = warp_band(self._bands.of(held.detail), flow, gate, self._places)
        (blocks,) = self.graphs["draw"]({"fused": fused, "band": _batch(band)})
        return band, blocks

    def _prepare(
        self,
        reference: Frame,
        sampling: Sampling,
        drawing: Drawing,  # noqa: ARG002 - there is one
    ) -> _Held:
        small = glimpse(reference, sampling)
        lr = small.astype(np.float32)
        seen = {
            "reference": _batch(reference.astype(np.float32)),
            "lr_coarse": _batch(view(lr, COARSE_PX)),
            "lr_quarter": _batch(view(lr, self.output_px // 4)),
        }
        features = self.graphs["encode"](seen)
        named = dict(zip(FEATURES, features, strict=True))
        return _Held(named, Detail(reference, small))

    def _warm_up(self, stored: Graphs) -> None:
        """Make one picture of noise: a graph that does not fit says so now, not in a call."""
        sampling = Sampling(COARSE_PX)
        shape = (COARSE_PX, COARSE_PX, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.add_reference(noise)
        try:
            made = self.synthesize(noise, sampling, -5.0)
        except (ValueError, cv2.error) as exc:
            raise _unfit(stored, "all", exc) from exc
        if made.shape != (self.output_px, self.output_px, 3):
            raise ModelError(f"{stored.path}: its graphs make pictures of another size")
        self._holding = self._hold_none()


def _batch(picture: Plane) -> Array:
    return picture[None]


def _open(stored: Graphs, name: str, threads: int) -> Graph:
    """The graph ready to run; its errors become ours, in one line."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError as exc:
        raise RuntimeUnavailable(
            "onnxruntime is not installed; pip install 'gemino[onnx]', or choose another --runtime"
        ) from exc
    failures = (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
        errors.RuntimeException,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    data = stored.read(name)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except failures as exc:
        raise _unfit(stored, name, exc) from exc

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        try:
            made: list[Any] = session.run(None, dict(feeds))
        except failures as exc:
            raise _unfit(stored, name, exc) from exc
        return made

    return run


def _unfit(stored: Graphs, name: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    return ModelError(f"{stored.path}: {name} cannot be run ({reason}); export the model again")
