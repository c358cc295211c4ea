"""What all tests share: examples that repeat, and signals that arrive."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings


def pytest_configure() -> None:
    """The same examples in every run, and no deadline: a busy machine is no failure."""
    settings.register_profile("gemino", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("gemino")
    # A shell's background jobs ignore Ctrl-C, and so would the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # More threads than free cores stall one another, in tests as in a call.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """No test may leave this thread in real time, as SVT-AV1 does where it is opened carelessly.

    Two threads that spin in real time on two cores starve a third that holds what they wait for.
    """
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        pytest.fail("SVT-AV1 was opened without gemino.svtav1.quiet_svt_av1")
