"""How a model runs: one protocol, and a choice made when a decoder starts."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gemino.errors import RuntimeUnavailable
from gemino.runtime.base import ClassicalSynthesizer, Synthesizer
from gemino.zoo import find

__all__ = ["ClassicalSynthesizer", "Runtime", "Synthesizer", "open_synthesizer"]

Runtime = Literal["auto", "torch", "onnx", "classical"]


def open_synthesizer(
    model: str | Path | None, output_px: int, *, threads: int = 1, runtime: Runtime = "auto"
) -> Synthesizer:
    """The model of that name or folder, ready to run; None: classical upsampling.

    threads: CPU threads of the network. runtime: "auto" runs an export (`gemino export`) with
    onnxruntime and any other model with torch; "classical" upsamples whatever the model. Raises
    ModelError where the model is missing or damaged, RuntimeUnavailable where it cannot be run in
    this way. torch and onnxruntime are imported only where they are used.
    """
    if model is None or runtime == "classical":
        return ClassicalSynthesizer(output_px)
    files = find(model)
    if runtime == "onnx" or (runtime == "auto" and files.graphs is not None):
        from gemino.runtime.onnx_runtime import OnnxSynthesizer

        return OnnxSynthesizer(files, output_px, threads=threads)
    if files.graphs is not None:
        raise RuntimeUnavailable(
            f"{files.path}: holds graphs for onnxruntime, which torch does not run; say --runtime "
            "onnx, or name the model that they were exported from"
        )
    if find_spec("torch") is None:
        raise RuntimeUnavailable(
            "torch is not installed; pip install torch, or name an export (gemino export)"
        )
    from gemino.runtime.torch_runtime import TorchSynthesizer

    return TorchSynthesizer(files, output_px, threads=threads)
