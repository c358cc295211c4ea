"""A page server in a thread of its own, with its own event loop, beside a call."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from gemino.errors import GeminoError
from gemino.server.access import Access
from gemino.server.app import PageServer, Place
from gemino.server.trip import Trip


@contextlib.contextmanager
def serving(place: Place, access: Access, trip: Trip) -> Iterator[int]:
    """Serve pages for the time of a block; the port. Raises CallError where it cannot listen.

    A page that is there at the end is told how the block ended.
    """
    thread = _Thread(place, access, trip)
    thread.start()
    thread.settled.wait()
    if thread.failure is not None:
        raise thread.failure
    farewell = "The call was stopped."
    try:
        yield thread.port
        farewell = "The call is over: the other side has left."
    except GeminoError as error:
        farewell = f"The call has ended: {error}."
        raise
    finally:
        thread.end(farewell)


class _Thread(threading.Thread):
    """settled: it serves, or cannot: `failure` says why."""

    def __init__(self, place: Place, access: Access, trip: Trip) -> None:
        super().__init__(name="page", daemon=True)
        self.settled = threading.Event()
        self.failure: GeminoError | None = None
        self.port = 0
        self._asked = place, access, trip
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._farewell = ""

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except GeminoError as error:
            self.failure = error
        finally:
            self.settled.set()

    def end(self, farewell: str) -> None:
        """Say `farewell` to the page and stop; waits for it."""
        assert self._loop is not None
        self._farewell = farewell
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._end.set)
        self.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with PageServer(*self._asked) as server:
            self.port = server.port
            self.settled.set()
            await self._end.wait()
            server.farewell = self._farewell
