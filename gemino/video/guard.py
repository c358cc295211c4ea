"""A time limit for a library that may never come back."""

import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def within(limit_s: float, call: Callable[[], _Result]) -> _Result:
    """What `call` returns or raises; TimeoutError where it has not come back in `limit_s` seconds.

    It runs in a thread of its own, which costs little. After a timeout that
    thread is left alone, with all that it holds, for nothing can end it.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed to the caller below, whatever it is
            errors.append(error)

    thread = threading.Thread(target=run, name="guarded", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError(f"not back after {limit_s:g} s")
    if errors:
        raise errors[0]
    return results[0]
