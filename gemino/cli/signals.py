"""What ends a command that runs until it is stopped."""

import asyncio
import contextlib
import signal
from collections.abc import Callable


def on_stop(stop: Callable[[], object]) -> None:
    """Have the running event loop call `stop` for Ctrl-C and for a request to terminate."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # no such handlers on Windows
            loop.add_signal_handler(number, stop)
