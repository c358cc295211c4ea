"""A case in a process of its own.

A fresh process knows its own peak of memory, and nothing is warm that would not be in a call.
"""

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from gemino.errors import GeminoError
from gemino.timing.bench import Case, Record, run

_GRACE_S = 10.0
"""A process that has told its result ends soon; it is killed if it does not."""


def run_apart(case: Case, told: Callable[[float], None] | None = None) -> Record:
    """`bench.run` in a fresh process; told hears here how far it is, 0..1.

    Raises what that raises, and GeminoError where the process dies.
    """
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    with here, TemporaryDirectory(prefix="gemino-bench-") as scratch:
        there_too = (replace(case, scratch=Path(scratch)), there)
        process = context.Process(target=_serve, args=there_too, daemon=True)
        try:
            _start(process)
            there.close()  # so that the end of the other one is heard here
            record = _listen(here, told)
            process.join(_GRACE_S)
            return record
        finally:
            if process.pid is not None:
                process.kill()
                process.join()


def _start(process: SpawnProcess) -> None:
    """Start it deaf to Ctrl-C, which reaches all of a terminal's processes: we end it ourselves."""
    if threading.current_thread() is not threading.main_thread():
        process.start()
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, former)


def _listen(here: Connection, told: Callable[[float], None] | None) -> Record:
    while True:
        try:
            kind, value = here.recv()
        except EOFError:
            raise GeminoError("a process of the benchmark died (out of memory?)") from None
        if kind == "failed":
            assert isinstance(value, BaseException)
            raise value
        if kind == "done":
            record: Record = value
            return record
        if told is not None:
            told(value)


def _serve(case: Case, there: Connection) -> None:
    try:
        there.send(("done", run(case, lambda so_far: there.send(("told", so_far)))))
    except (GeminoError, OSError) as error:
        there.send(("failed", error))
