"""The machine that figures are of."""

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

_CPUINFO = Path("/proc/cpuinfo")
# What decides how fast convolutions are, the most telling first.
_EXTENSIONS = (
    *("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx2"),
    *("sve", "bf16", "i8mm", "asimd"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """cores: those this process may use. isa: extensions of its instruction set that matter here.
    capability: what torch makes of them. gpu: None where there is no usable CUDA device."""

    cpu: str
    cores: int
    isa: tuple[str, ...]
    capability: str
    system: str
    python: str
    torch: str
    gpu: str | None

    def json(self) -> dict[str, Any]:
        """As values for json.dumps."""
        return asdict(self)


def describe() -> Machine:
    """This machine."""
    facts = _cpu_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return Machine(
        cpu=facts.get("model name") or platform.processor() or platform.machine(),
        cores=_cores(),
        isa=tuple(name for name in _EXTENSIONS if name in flags),
        capability=torch.backends.cpu.get_cpu_capability(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=str(torch.__version__),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_facts() -> dict[str, str]:
    """Of the first core; empty where the system does not tell."""
    try:
        first = _CPUINFO.read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
