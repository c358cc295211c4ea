"""How a model runs: one protocol, and a choice made when a decoder starts."""

from pathlib import Path

from gemino.runtime.base import ClassicalSynthesizer, Synthesizer
from gemino.zoo import find

__all__ = ["ClassicalSynthesizer", "Synthesizer", "open_synthesizer"]


def open_synthesizer(model: str | Path | None, output_px: int, *, threads: int = 1) -> Synthesizer:
    """The model of that name or folder, ready to run; None: classical upsampling.

    threads: CPU threads of the network. Raises ModelError where the model is missing or damaged.
    torch is imported only where a model is named.
    """
    if model is None:
        return ClassicalSynthesizer(output_px)
    files = find(model)
    from gemino.runtime.torch_runtime import TorchSynthesizer

    return TorchSynthesizer(files, output_px, threads=threads)
