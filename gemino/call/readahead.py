"""A little of what comes next, made in a thread: decoding a clip must not stall the event loop."""

import contextlib
import queue
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Generic[Item]):
    """Runs an iterable in a daemon thread, at most `depth` items ahead."""

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[Item | Exception | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._ended = False
        self._first: list[Item] = []
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def peek(self) -> Item | None:
        """The first item, left in place; waits for it. To be called before `get`."""
        if not self._first:
            item = self.get()
            if item is None:
                return None
            self._first.append(item)
        return self._first[0]

    def get(self) -> Item | None:
        """The next item, waiting for it; None at the end. Raises what the iterable raised."""
        if self._first:
            return self._first.pop()
        if self._ended:
            return None
        item = self._queue.get()
        if item is None or isinstance(item, Exception):
            self._ended = True
            if isinstance(item, Exception):
                raise item
            return None
        return item

    def ready(self) -> bool:
        """Whether `get` would return an item, or the end, without waiting."""
        return self._ended or bool(self._first) or not self._queue.empty()

    def close(self) -> None:
        """Stop the thread; soon `get` gives the end, whoever waits in it."""
        self._closed.set()

    def _run(self) -> None:
        end: Exception | None = None
        items, self._items = self._items, ()  # with this thread goes what they have open
        try:
            for item in items:
                if not self._put(item):
                    return
        except Exception as error:
            end = error
        self._put(end)

    def _put(self, item: Item | Exception | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)  # there is room: nobody else puts, and somebody may wait in get()
        return False
