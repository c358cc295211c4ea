"""SVT-AV1 without its banner, and without precedence over everything else on the machine.

The library prints a page of settings to standard error for every encoder that is opened, and its
own switch for that, an environment variable read when an encoder opens, is the only one it has.
Where it may (as root), it also gives the highest real-time priority to the thread that opens an
encoder, and so to all threads that this one starts later: a picture in the works would stop a
call's packets and sound, and whatever else runs on a machine of few cores.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_FATAL_ONLY = "0"  # with errors, it complains of every stream that ends without a flush


def silence_svt_av1() -> None:
    """Silence SVT-AV1; call before an encoder is opened. Respects a user's choice."""
    os.environ.setdefault("SVT_LOG", _FATAL_ONLY)


@contextlib.contextmanager
def quiet_svt_av1() -> Iterator[None]:
    """Around the opening of an encoder: no banner, and no thread becomes a real-time one.

    Nothing is changed where the caller runs in real time already: somebody wanted that.
    """
    silence_svt_av1()
    ordinary = sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER
    try:
        yield
    finally:
        if ordinary:
            _leave_real_time()


def _leave_real_time() -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            if os.sched_getscheduler(int(thread.name)) == os.SCHED_FIFO:
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
