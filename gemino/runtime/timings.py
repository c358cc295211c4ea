"""How long a frame takes in each way of running a model on this machine: measured once, and kept.

One small file in the user's cache folder. It belongs to a processor and to versions of the
libraries: on another machine, or after an upgrade, it is begun anew. A file that is missing,
damaged or cannot be written costs a second at the start of a call and nothing else.
"""

import contextlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FORMAT = 1
_PACKAGES = ("gemino", "torch", "onnxruntime", "opencv-python-headless")
_CPUINFO = Path("/proc/cpuinfo")
_MAX_BYTES = 64 * 1024
_MAX_ENTRIES = 256
_MAX_S = 600.0


def cache_folder() -> Path:
    """Where this user's measurements and exports are kept."""
    try:
        return Path.home() / ".cache" / "gemino"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"gemino-{os.getpid()}"


def frame_s(what: str, measure: Callable[[], float], *, folder: Path | None = None) -> float:
    """Seconds of a frame of `what`: as kept of this machine, else as `measure` says, and kept.

    what: names the model's checksum, the size and the way of running. folder: another one than the
    user's.
    """
    kept_s = recall(what, folder=folder)
    if kept_s is None:
        kept_s = measure()
        keep(what, kept_s, folder=folder)
    return kept_s


def recall(what: str, *, folder: Path | None = None) -> float | None:
    """Seconds that `what` took on this machine when it was last kept; None where it never was."""
    return _read(_path(folder)).get(what)


def keep(what: str, seconds: float, *, folder: Path | None = None) -> None:
    """Keep what `what` takes on this machine."""
    known = _read(_path(folder))
    known.pop(what, None)  # the newest last: the oldest are dropped
    _write(_path(folder), known | {what: seconds})


def _path(folder: Path | None) -> Path:
    return (folder or cache_folder()) / "timings.json"


def this_machine() -> str:
    """What the times depend on: processor, its extensions, and versions."""
    return "; ".join([*_processor(), *(f"{name} {_version(name)}" for name in _PACKAGES)])


def _processor() -> list[str]:
    facts = [platform.machine(), f"{os.cpu_count()} cores"]
    with contextlib.suppress(OSError):
        first = _CPUINFO.read_text(errors="replace").partition("\n\n")[0]
        for line in first.splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "flags", "Features"):
                facts.append(value.strip())
    return facts


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _read(path: Path) -> dict[str, float]:
    """What the file says of this machine; nothing where it says nothing that can be believed."""
    try:
        with path.open("rb") as file:
            stored = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    match stored:
        case {"format": 1, "machine": str(machine), "frame_s": dict(times)}:
            if machine == this_machine():
                return {
                    str(what): float(seconds)
                    for what, seconds in times.items()
                    if isinstance(seconds, int | float)
                    and not isinstance(seconds, bool)
                    and math.isfinite(seconds)
                    and 0 < seconds < _MAX_S
                }
    return {}


def _write(path: Path, times: dict[str, float]) -> None:
    newest = dict(list(times.items())[-_MAX_ENTRIES:])
    text = json.dumps({"format": FORMAT, "machine": this_machine(), "frame_s": newest}, indent=1)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)
