"""What ends a command that runs until it is stopped."""

import asyncio
import signal
import sys
from collections.abc import Callable


def on_stop(stop: Callable[[], object]) -> None:
    """Have the running event loop call `stop` for Ctrl-C and for a request to terminate.

    Windows' event loops know no signals: there Ctrl-C cancels what `asyncio.run` runs.
    """
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
