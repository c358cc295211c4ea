"""What a frame at 1024 px costs: the published Gemino's network beside ours.

    python scripts/original_cost.py --model generic-s --markdown out/original.md

Counts multiply-accumulates of both, and lets them take turns in one run on this machine. The
published network (gemino/timing/original.py) has random weights and is timed alone, from tensors to
a tensor, its reference encoded before; ours as in a call, from picture to picture.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from gemino.cli.console import progress, shown
from gemino.cli.edge import guard
from gemino.config import Sampling
from gemino.evaluation.tables import Table
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.timing import original
from gemino.timing.cost import cost
from gemino.timing.machine import describe
from gemino.timing.original import OUTPUT_PX, Original
from gemino.timing.stopwatch import Stage, Timing, measure
from gemino.timing.tables import check_writable, write_markdown
from gemino.zoo import DEFAULT_MODEL, find

_LR_PX = original.LR_PX
_PUBLISHED = {"original": original.plain, "original, depthwise": original.depthwise}
_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def published(device: torch.device) -> list[Stage]:
    """The published network and its depthwise variant, in both number formats."""
    stages = []
    for name, conv in _PUBLISHED.items():
        for kind, dtype in _FORMATS.items():
            network = Original(conv).eval().to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            reference = torch.rand(1, 3, OUTPUT_PX, OUTPUT_PX, device=device, dtype=dtype)
            lr = torch.rand(1, 3, _LR_PX, _LR_PX, device=device, dtype=dtype)
            call = partial(network, network.remember(reference), lr)
            stages.append(Stage(f"{name}, {kind}", call, device.type != "cpu"))
    return stages


def ours(synthesizer: TorchSynthesizer) -> Stage:
    """A frame as in a call."""
    rng = np.random.default_rng(0)
    synthesizer.add_reference(rng.integers(0, 256, (OUTPUT_PX, OUTPUT_PX, 3), np.uint8))
    lr = rng.integers(0, 256, (_LR_PX, _LR_PX, 3), np.uint8)
    name = f"{synthesizer.name}, {synthesizer.precision}"
    return Stage(name, lambda: synthesizer.synthesize(lr, Sampling(_LR_PX), -5.0))


def row(
    stage: Stage, parameters: int, macs: int, timings: dict[str, Timing], first: str
) -> list[str]:
    """A line of the table; how many times the cost of the stage named `first` it is."""
    timing, least = timings[stage.name], timings[first]
    figures = (timing.p50, timing.p95, timing.cpu_p50)
    return [
        stage.name,
        f"{parameters / 1e6:.2f}",
        f"{macs / 1e9:.2f}",
        *(f"{ms:.1f}" for ms in figures),
        f"{timing.p50 / least.p50:.1f}",
        f"{timing.cpu_p50 / least.cpu_p50:.1f}" if not stage.on_gpu else "-",
    ]


def compare(model: str, device: str, threads: int, seconds: float) -> Table:
    """Both networks, taking turns."""
    torch.set_num_threads(threads)
    files = find(model)
    mine = cost(files.config, OUTPUT_PX, _LR_PX)
    with torch.inference_mode(), progress() as bar:
        synthesizer = TorchSynthesizer(files, OUTPUT_PX, device=device, threads=threads)
        stages = [ours(synthesizer), *published(synthesizer.device)]
        work = bar.add_task("timing", total=100)
        timings = measure(
            stages,
            seconds,
            lambda so_far: bar.update(work, completed=round(100 * so_far)),
            warm_up=1,
        )
    costs = [(mine.parameters, mine.macs)]
    for conv in _PUBLISHED.values():
        counted = original.counts(conv)
        costs += [(counted.parameters, counted.macs)] * len(_FORMATS)
    lines = [
        row(stage, *each, timings, stages[0].name)
        for stage, each in zip(stages, costs, strict=True)
    ]
    here = describe()
    header = ["network", "M parameters", "GMAC", "p50 ms", "p95", "CPU ms", "x p50", "x CPU"]
    where = f"{here.gpu or here.cpu}, {threads} of {here.cores} cores, torch {here.torch}"
    note = "" if here.gpu else "There is no CUDA device here: a GPU has not been timed."
    return Table(f"One frame at {OUTPUT_PX} px on {where}", header, lines, note, frozenset([0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="ours, by name or folder")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="of torch"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads a frame")
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    arguments = parser.parse_args()
    if arguments.markdown is not None:
        check_writable(arguments.markdown)
    table = compare(arguments.model, arguments.device, arguments.threads, arguments.seconds)
    if arguments.markdown is not None:
        write_markdown(arguments.markdown, [table])
    Console().print(shown(table))


if __name__ == "__main__":
    guard(main)
