"""What is timed: a model opened in its runtime, and the steps that a frame takes there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from gemino.config import Sampling
from gemino.errors import RuntimeUnavailable
from gemino.frames import Frame
from gemino.runtime import Synthesizer
from gemino.runtime.onnx_runtime import Array, Graph, OnnxSynthesizer
from gemino.runtime.programs import Parts
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.zoo import ModelFiles

_PER_FRAME = ("align", "draw")


@dataclass(frozen=True, slots=True)
class Subject:
    """runtime: torch or onnx. precision: of its convolutions. parts: the steps of a frame by name,
    each repeatable, for an LR picture, its sampling and its log2 of bits per pixel; wants a
    reference."""

    synthesizer: Synthesizer
    runtime: str
    device: torch.device
    precision: str
    parts: Callable[[Frame, Sampling, float], Parts]


def open_subject(files: ModelFiles, output_px: int, device: str, threads: int) -> Subject:
    """An export runs in onnxruntime, anything else in torch.

    Raises ModelError, and RuntimeUnavailable where this machine cannot run it so.
    """
    if files.graphs is None:
        # What was timed here before was perhaps timed with other instructions.
        made = TorchSynthesizer(files, output_px, device=device, threads=threads, fresh=True)
        return Subject(made, "torch", made.device, made.precision, made.parts)
    if device in ("cuda", "mps"):
        raise RuntimeUnavailable(f"{files.path}: an export runs on a CPU; use --device cpu")
    graphs = OnnxSynthesizer(files, output_px, threads=threads)
    parts = partial(_graph_parts, graphs)
    return Subject(graphs, "onnx", torch.device("cpu"), graphs.precision, parts)


def _graph_parts(
    synthesizer: OnnxSynthesizer, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float
) -> Parts:
    """The graphs of a frame, fed with what one frame feeds them."""
    graphs, fed = dict(synthesizer.graphs), dict[str, Mapping[str, Array]]()

    def watched(name: str, graph: Graph) -> Graph:
        def run(feeds: Mapping[str, Array]) -> list[Array]:
            fed[name] = dict(feeds)
            return graph(feeds)

        return run

    synthesizer.graphs.update({name: watched(name, graph) for name, graph in graphs.items()})
    synthesizer.synthesize(lr, sampling, log2_bits_per_pixel)
    synthesizer.graphs.update(graphs)
    return {f"{name} half": partial(graphs[name], fed[name]) for name in _PER_FRAME}
