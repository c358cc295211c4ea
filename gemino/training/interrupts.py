"""An end on request: the step under way is finished and saved before a training stops.

Ctrl-C sends SIGINT; job schedulers and torchrun send SIGTERM some seconds before they kill.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDINGS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_interrupt(request: Callable[[], None]) -> Iterator[None]:
    """Call `request` at the first SIGINT or SIGTERM; a second one acts at once, as ever.

    Only the main thread may handle signals: in another this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in _ENDINGS}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def handle(_number: int, _frame: FrameType | None) -> None:
        restore()
        request()

    for number in _ENDINGS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
