"""One model at one output size: its stages, its floor, and what else the time would buy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from torch.profiler import ProfilerActivity, profile, record_function

from gemino.config import ModelConfig, NetworkSize
from gemino.nn.model import build
from gemino.processes import peak_rss_mb
from gemino.timing import floors, pipeline
from gemino.timing.cost import Cost, cost
from gemino.timing.machine import describe
from gemino.timing.stopwatch import Stage, Timing, measure
from gemino.timing.subject import Subject, open_subject
from gemino.zoo import ModelFiles, find, write_config

UNTRAINED: tuple[NetworkSize, ...] = get_args(NetworkSize)
"""Instead of a model: a network of that size with random weights, which takes the same time."""
_SETTLING_TURNS = 3
_PROFILED_FRAMES = 3

Record = dict[str, Any]
"""What came out, as values for json.dumps."""


@dataclass(frozen=True, slots=True)
class Case:
    """What to time. model: a model's name or folder, or one of `UNTRAINED`. device: auto, cpu,
    cuda or mps. seconds: for so long, besides what opening takes. trace: a file for the profiler.
    scratch: a folder that whoever made it clears. isa: what this process is limited to, for the
    record: the libraries were told when it started."""

    model: str
    output_px: int
    device: str = "auto"
    threads: int = 1
    seconds: float = 10.0
    trace: Path | None = None
    scratch: Path | None = None
    isa: str = ""


def run(case: Case, told: Callable[[float], None] | None = None) -> Record:
    """Time `case` in this process; told hears how far it is, 0..1.

    Its memory is the whole process's: run each case in a fresh one. Raises ModelError,
    RuntimeUnavailable or CodecError.
    """
    torch.set_num_threads(case.threads)
    with _files(case) as files, torch.inference_mode():
        subject = open_subject(files, case.output_px, case.device, case.threads)
        ours = pipeline.codec_stages(subject)
        measure(ours, 0.0, fewest=_SETTLING_TURNS)
        peak_mb = peak_rss_mb()
        rivals = pipeline.rival_stages(case.output_px)
        dtype = torch.bfloat16 if subject.precision == "bfloat16" else torch.float32
        limits = floors.stages(subject.device, dtype)
        timings = measure([*ours, *rivals, *limits], case.seconds, told)
        if case.trace is not None:
            _write_trace(case.trace, ours)
    counted = cost(files.config, case.output_px, pipeline.RUNG.size_px)
    return {
        **_facts(case, files, subject, counted),
        "peak_rss_mb": peak_mb,
        **_figures(timings, counted, subject, case.threads),
    }


def _facts(case: Case, files: ModelFiles, subject: Subject, counted: Cost) -> Record:
    precision = subject.precision
    return {
        "machine": describe().json(),
        "model": case.model,
        "model_size": files.config.size,
        "model_sha256": None if case.model in UNTRAINED else files.sha256,
        "output_px": case.output_px,
        "lr_px": pipeline.RUNG.size_px,
        "runtime": subject.runtime,
        "device": subject.device.type,
        "precision": precision,
        "threads": case.threads,
        "isa_limit": case.isa,
        "parameters": counted.parameters,
        "gmac": round(counted.macs / 1e9, 4),
        "weights_mb": round(counted.weights_bytes(precision) / 1e6, 4),
        "moved_mb": round(counted.moved_bytes(precision) / 1e6, 3),
    }


def _figures(timings: dict[str, Timing], counted: Cost, subject: Subject, threads: int) -> Record:
    """Times, and ratios of what one thread computes; of what passes, where that says nothing."""
    by_cpu = threads == 1 and subject.device.type == "cpu"
    typical = {n: t.cpu_p50 if by_cpu else t.p50 for n, t in timings.items()}
    best = {n: t.cpu_best if by_cpu else t.best for n, t in timings.items()}
    limits = floors.floors(best)
    floor_ms = limits.frame_ms(counted.macs, counted.moved_bytes(subject.precision))
    beside = {
        "floor": floor_ms,
        "vp8": typical[pipeline.vp8(subject.synthesizer.output_px)],
        "bicubic": typical[pipeline.BICUBIC],
    }
    whole, hidden = timings[pipeline.WHOLE], floors.names()
    return {
        "stages": {name: t.json() for name, t in timings.items() if name not in hidden},
        "gmac_per_s": {name: round(rate, 2) for name, rate in limits.convolutions.items()},
        "memory_gb_per_s": round(limits.memory, 3),
        "floor_ms": round(floor_ms, 4),
        "ratios": {name: round(typical[pipeline.WHOLE] / ms, 3) for name, ms in beside.items()},
        "ratios_of": "cpu_p50_ms" if by_cpu else "p50_ms",
        "cpu_share": round(whole.cpu_p50 / whole.p50, 3),
    }


@contextmanager
def _files(case: Case) -> Iterator[ModelFiles]:
    """The model, or one of random weights for as long as it is needed."""
    size = next((size for size in UNTRAINED if size == case.model), None)
    if size is None:
        yield find(case.model)
        return
    with TemporaryDirectory(dir=case.scratch) as name:
        folder, config = Path(name), ModelConfig(size, size)
        save_file(build(config).state_dict(), folder / "model.safetensors")
        yield write_config(folder, config)


def _write_trace(path: Path, stages: list[Stage]) -> None:
    """A few turns of `stages` as torch's profiler sees them, in Chrome's trace format."""
    kinds = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds) as profiler:
        for _ in range(_PROFILED_FRAMES):
            for stage in stages:
                if stage.every == 1:
                    with record_function(stage.name):
                        stage.call()
    profiler.export_chrome_trace(str(path))
