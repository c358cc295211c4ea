"""Processes: workers that leave nothing behind, and how much memory one has held.

A pool's workers wait for work on a pipe whose other end they hold themselves, so they outlive a
parent that is killed, and keep its memory for good. These notice, and end.
"""

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

_EXIT_ORPHANED = 1


def pool(
    workers: int, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Fresh (spawned) processes that end with this one, however it ends, and at Ctrl-C.

    begin: called with `arguments` in each of them first.
    """
    return ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(begin, arguments),
    )


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held before exec
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of a terminal, and ends this one without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(_EXIT_ORPHANED)
