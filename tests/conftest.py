"""What all tests share: examples that repeat, and signals that arrive."""

import signal

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
