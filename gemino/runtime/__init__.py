"""How a model runs: one protocol, and a choice made when a decoder starts."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from gemino.adapters import AdapterFile
from gemino.errors import ModelError, RuntimeUnavailable
from gemino.runtime.base import ClassicalSynthesizer, Drawing, Precision, Synthesizer
from gemino.runtime.choice import choose, lighter_than, open_graphs, open_torch, torch_is_there
from gemino.runtime.guarded import GuardedSynthesizer
from gemino.zoo import ModelFiles, find

__all__ = [
    "ClassicalSynthesizer",
    "Device",
    "Drawing",
    "Precision",
    "Runtime",
    "Synthesizer",
    "adopt",
    "open_synthesizer",
]

Runtime = Literal["auto", "torch", "onnx", "classical"]
Device = Literal["auto", "cpu", "cuda", "mps"]


def open_synthesizer(
    model: str | Path | None,
    output_px: int,
    *,
    threads: int = 1,
    runtime: Runtime = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    live: bool = False,
) -> Synthesizer:
    """The model of that name or folder, ready to run; None: classical upsampling.

    threads: CPU threads of the network. runtime: "auto" runs an export (`gemino export`) with
    onnxruntime, and of any other model what `runtime.choice` finds to be in time; "classical"
    upsamples whatever the model. device, precision: of torch. live: have the lighter model of the
    family at hand, where there is one. A person's adapter is used only while the stream shows that
    person (`runtime.guarded`). Raises ModelError where the model is missing or damaged,
    RuntimeUnavailable where it cannot be run in this way. torch and onnxruntime are imported only
    where they are used.
    """
    if model is None or runtime == "classical":
        return ClassicalSynthesizer(output_px)
    files = find(model)
    asked = output_px, threads, runtime, device, precision, live
    if files.adapter is None:
        opened = _open(files, *asked)
        return GuardedSynthesizer(opened) if live else opened
    personal = _open(files, *asked)
    guarded = GuardedSynthesizer(
        _open(replace(files, adapter=None), output_px, threads, "torch", *asked[3:])
    )
    guarded.adopt(personal, files.adapter)
    return guarded


def adopt(
    synthesizer: Synthesizer, model: str | Path, adapter: AdapterFile, device: Device
) -> None:
    """Have `synthesizer`, opened live for `model`, draw with `adapter` where its owner is seen.

    Takes a second or more, beside the frames and on the thread that adds references. Raises
    ModelError where `adapter` does not fit the model, or what runs it takes none.
    """
    files = find(model)
    adapter.check_base(files.config.name, files.sha256)
    if not isinstance(synthesizer, GuardedSynthesizer) or files.graphs is not None:
        raise ModelError(f"adapter {adapter.name!r}: {synthesizer.way} runs no adapters; use torch")
    files = replace(files, adapter=adapter)
    size_px = synthesizer.output_px
    synthesizer.adopt(_open(files, size_px, 1, "torch", device, "auto", live=True), adapter)


def _open(
    files: ModelFiles,
    output_px: int,
    threads: int,
    runtime: Runtime,
    device: Device,
    precision: Precision,
    live: bool,
) -> Synthesizer:
    if files.graphs is not None and runtime == "torch":
        raise RuntimeUnavailable(
            f"{files.path}: holds graphs for onnxruntime, which torch does not run; say --runtime "
            "onnx, or name the model that they were exported from"
        )
    if runtime == "onnx" or files.graphs is not None:
        if device not in ("auto", "cpu"):
            raise RuntimeUnavailable(f"{files.path}: an export runs on a CPU; use --device cpu")
        return open_graphs(files, output_px, threads)
    lighter = lighter_than(files) if live else None
    if runtime == "auto" and device in ("auto", "cpu") and precision == "auto":
        return choose(files, output_px, threads, device, lighter)
    torch_is_there()
    return open_torch(files, output_px, threads, device, lighter, precision)
