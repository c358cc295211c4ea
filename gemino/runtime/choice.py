"""Which runtime draws in time on this machine, by what a frame takes in each.

A model can be run by torch, and by onnxruntime where somebody has exported it into the user's
cache folder (`gemino export` without -o). Each is timed once on a machine (`runtime.timings`), by
CPU time, so that a busy moment decides nothing. What draws exactly (within a level or two) is
preferred to int8 as long as it is in time; torch, which can draw smaller pictures, is kept where
nothing is.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gemino.errors import ModelError, RuntimeUnavailable
from gemino.graphs import GraphPrecision
from gemino.runtime.base import Precision, Synthesizer
from gemino.runtime.timings import cache_folder, frame_s
from gemino.zoo import CONFIG, ModelFiles, find

if TYPE_CHECKING:
    from gemino.runtime.onnx_runtime import OnnxSynthesizer
    from gemino.runtime.torch_runtime import TorchSynthesizer

logger = logging.getLogger(__name__)

BUDGET_S = 0.06
"""CPU time of a frame: a call draws two at a time, 30 a second, and has other things to do."""
_RUNS = 3
_LIGHTEST = "xs"
_MAX_EXPORTS = 64


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a model. seconds: of a frame. exact: draws what float32 draws."""

    name: str
    seconds: float
    exact: bool


def decide(ways: Sequence[Way], budget_s: float = BUDGET_S) -> Way:
    """The fastest exact one in time, else the fastest one in time, else the first."""
    in_time = [way for way in ways if way.seconds <= budget_s]
    among = [way for way in in_time if way.exact] or in_time or list(ways[:1])
    return min(among, key=lambda way: way.seconds)


def exports_folder() -> Path:
    """Where `choose` looks for exports."""
    return cache_folder() / "exports"


def exports_of(files: ModelFiles, output_px: int, folder: Path | None = None) -> list[ModelFiles]:
    """Exports of this very model for this size; damaged ones are left out."""
    found = []
    if files.adapter is not None:
        return []  # its weights are not the exported ones
    configs = sorted((folder or exports_folder()).glob(f"*/{CONFIG}"))
    for config in configs[:_MAX_EXPORTS]:
        try:
            export = find(config.parent)
        except ModelError as error:
            logger.info("an export is left out: %s", error)
            continue
        graphs = export.graphs
        if graphs is not None and (export.sha256, graphs.output_px) == (files.sha256, output_px):
            found.append(export)
    return found


def choose(
    files: ModelFiles,
    output_px: int,
    threads: int,
    device: str,
    lighter: ModelFiles | None,
    folder: Path | None = None,
) -> Synthesizer:
    """The model in the way that is in time here; raises as `open_synthesizer` does.

    folder: of exports, another one than the user's.
    """
    exports = exports_of(files, output_px, folder) if find_spec("onnxruntime") else []
    if find_spec("torch") is None and not exports:
        torch_is_there()
    opens: dict[str, Callable[[], TorchSynthesizer | OnnxSynthesizer]] = {}
    if find_spec("torch") is not None:
        opens["torch"] = partial(open_torch, files, output_px, threads, device, lighter)
    for export in exports:
        assert export.graphs is not None
        name = graphs_name(export.graphs.precision)
        opens[name] = partial(open_graphs, export, output_px, threads)
    if len(opens) == 1:
        (only,) = opens.values()
        return only()
    opened: dict[str, TorchSynthesizer | OnnxSynthesizer] = {}

    def timed(name: str) -> float:
        opened[name] = opens[name]()
        return opened[name].frame_s(_RUNS)

    ways = []
    for name in opens:
        what = f"{files.sha256[:16]} {output_px} px {name} x{threads}"
        seconds = frame_s(what, partial(timed, name))
        ways.append(Way(name, seconds, exact=not name.endswith("int8")))
    best = decide(ways)
    said = ", ".join(f"{way.name} {way.seconds * 1000:.0f} ms" for way in ways)
    logger.info("%s at %d px runs by %s (a frame: %s)", files.title, output_px, best.name, said)
    return opened.get(best.name) or opens[best.name]()


def graphs_name(precision: GraphPrecision) -> str:
    """How the way through such graphs is called."""
    return f"onnx {precision}"


def lighter_than(files: ModelFiles) -> ModelFiles | None:
    """The lightest model of the same family, `generic-xs` beside `generic-s`, where it is there."""
    config = files.config
    family = config.name.removesuffix(f"-{config.size}")
    folder = files.path.with_name(f"{family}-{_LIGHTEST}")
    if config.size == _LIGHTEST or family == config.name or not (folder / CONFIG).is_file():
        return None
    try:
        found = find(folder)
    except ModelError as error:
        logger.warning("the call goes on without the lighter model: %s", error)
        return None
    return found if found.config.size == _LIGHTEST and found.graphs is None else None


def torch_is_there() -> None:
    """Raises RuntimeUnavailable where it is not."""
    if find_spec("torch") is None:
        raise RuntimeUnavailable(
            "torch is not installed; pip install torch, or name an export (gemino export)"
        )


def open_torch(
    files: ModelFiles,
    output_px: int,
    threads: int,
    device: str,
    lighter: ModelFiles | None,
    precision: Precision = "auto",
) -> "TorchSynthesizer":
    """The model in torch; imports it."""
    from gemino.runtime.torch_runtime import TorchSynthesizer

    return TorchSynthesizer(
        files, output_px, lighter=lighter, device=device, threads=threads, precision=precision
    )


def open_graphs(files: ModelFiles, output_px: int, threads: int) -> "OnnxSynthesizer":
    """The export in onnxruntime; imports it."""
    from gemino.runtime.onnx_runtime import OnnxSynthesizer

    return OnnxSynthesizer(files, output_px, threads=threads)
