"""Timing many stages in one run.

Stages take turns: what else the machine does meanwhile hits all of them alike, so that ratios hold
where absolute times do not, and no stage finds its data in the caches that its own last run left.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

_WARM_UP_TURNS = 2
_FEWEST_TURNS = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """Something to time.

    call: does it once. on_gpu: it only begins work there, so events on the GPU time it. every: it
    comes in one of so many turns.
    """

    name: str
    call: Callable[[], object]
    on_gpu: bool = False
    every: int = 1


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one stage, in milliseconds.

    p50, p95, p99, best: of the time that passes. cpu_p50, cpu_best: of the time that the process
    computes, all its threads together; with one thread on a quiet machine they are the same.
    """

    runs: int
    p50: float
    p95: float
    p99: float
    best: float
    cpu_p50: float
    cpu_best: float

    def json(self) -> dict[str, Any]:
        """As values for json.dumps."""
        figures = asdict(self)
        runs = figures.pop("runs")
        return {"runs": runs, **{f"{name}_ms": round(ms, 4) for name, ms in figures.items()}}


def measure(
    stages: Sequence[Stage],
    seconds: float,
    told: Callable[[float], None] | None = None,
    *,
    fewest: int = _FEWEST_TURNS,
    warm_up: int = _WARM_UP_TURNS,
) -> dict[str, Timing]:
    """Let `stages` take turns for `seconds`, and at least `fewest` turns; their times by name.

    told: hears after each turn how far it is, 0..1. warm_up: turns before that, not counted.
    """
    for _ in range(warm_up):
        for stage in stages:
            stage.call()
    passed: dict[str, list[float]] = {stage.name: [] for stage in stages}
    computed: dict[str, list[float]] = {stage.name: [] for stage in stages}
    started, turn = time.perf_counter(), 0
    while turn < fewest or time.perf_counter() - started < seconds:
        for stage in stages:
            if turn % stage.every == 0:
                cpu = time.process_time()
                passed[stage.name].append(_on_gpu(stage) if stage.on_gpu else _here(stage))
                computed[stage.name].append((time.process_time() - cpu) * 1000)
        turn += 1
        if told is not None:
            so_far = (time.perf_counter() - started) / seconds if seconds > 0 else 1.0
            told(min(so_far, turn / fewest, 1.0))
    return {name: _timing(passed[name], computed[name]) for name in passed}


def _here(stage: Stage) -> float:
    if torch.cuda.is_available():  # what an earlier stage left behind there is none of this one's
        torch.cuda.synchronize()
    start = time.perf_counter()
    stage.call()
    return (time.perf_counter() - start) * 1000


def _on_gpu(stage: Stage) -> float:
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    stage.call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def _timing(passed: list[float], computed: list[float]) -> Timing:
    p50, p95, p99 = (float(p) for p in np.percentile(passed, (50, 95, 99)))
    return Timing(
        len(passed), p50, p95, p99, min(passed), float(np.median(computed)), min(computed)
    )
