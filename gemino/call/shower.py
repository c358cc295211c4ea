"""What is rebuilt, shown in order: drawn pictures, and those between.

A thread of its own waits for each picture in turn; `UnderWay` is what it waits for.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from gemino.call.carry import Carry
from gemino.call.display import ShownFrame
from gemino.call.governor import Governor
from gemino.call.playout import DuePicture
from gemino.call.stats import Counters
from gemino.decoder import DecodedFrame, LrPicture
from gemino.errors import CallError
from gemino.frames import resize
from gemino.runtime import Drawing

logger = logging.getLogger(__name__)

_Rebuilt = tuple[DuePicture, Future[DecodedFrame] | LrPicture]
"""A picture that is being drawn, or one that is to be made from the last drawn."""


class UnderWay:
    """Pictures on their way from the decoder to the screen, in order.

    As many are drawn at a time as there are rebuilders, and one more waits for the first of them
    to be free; those between are small and cost next to nothing.
    """

    def __init__(self, rebuilders: int) -> None:
        self._queue: queue.SimpleQueue[_Rebuilt | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(rebuilders + 1)

    def draw(self, due: DuePicture, begin: Callable[[], Future[DecodedFrame]]) -> None:
        """Begin to draw a picture as soon as there is room."""
        self._room.acquire()
        self._queue.put((due, begin()))

    def carry(self, due: DuePicture, picture: LrPicture) -> None:
        """Have a picture made from the last drawn one, once that is there."""
        self._queue.put((due, picture))

    def next(self) -> _Rebuilt | None:
        """The next one to show, None at the end; waits."""
        return self._queue.get()

    def shown(self) -> None:
        """A drawn one makes room."""
        self._room.release()

    def end(self) -> None:
        """Nothing follows."""
        self._queue.put(None)


class Shower:
    """Shows pictures of `size_px`, and tells the governor what drawing took.

    drawing: how pictures are drawn now; None as long as another way is made ready: then their times
    say nothing. failure: why nothing more is shown.
    """

    def __init__(
        self,
        size_px: int,
        counters: Counters,
        show: Callable[[ShownFrame], None],
        governor: Governor,
    ) -> None:
        self.failure: CallError | None = None
        self.drawing: Drawing | None = governor.mode.drawing
        self._size_px = size_px
        self._counters = counters
        self._show = show
        self._governor = governor
        self._drawn: DecodedFrame | None = None
        self._carry: Carry | None = None
        self._shown_at = 0.0

    def run(self, under_way: UnderWay) -> None:
        """Show all that is under way, to the end."""
        while (rebuilt := under_way.next()) is not None:
            due, work = rebuilt
            self._take(due, work)
            if not isinstance(work, LrPicture):
                under_way.shown()

    def _take(self, due: DuePicture, work: Future[DecodedFrame] | LrPicture) -> None:
        what = "rebuilt"
        try:
            if isinstance(work, LrPicture):
                decoded = self._between(work)
            else:
                decoded = work.result()
                self._account(decoded)
            what = "shown"
            self._tell(due, decoded)
        except Exception as error:  # a thread's edge: else the call would go on and show nothing
            logger.debug("a picture cannot be %s", what, exc_info=True)
            self.failure = CallError(f"pictures cannot be {what} any more: {error}")

    def _account(self, decoded: DecodedFrame) -> None:
        self._drawn, self._carry = decoded, None
        self._counters.synthesize_ms.add(decoded.synthesize_ms)
        if decoded.neural and self.drawing == self._governor.mode.drawing:
            self._governor.drawn(decoded.synthesize_ms / 1000, time.monotonic())

    def _between(self, picture: LrPicture) -> DecodedFrame:
        """A picture that is not drawn: neural where it shows detail that was."""
        start = time.perf_counter()
        if self._carry is None and self._drawn is not None and self._drawn.neural:
            self._carry = Carry(self._drawn)
        if self._carry is None:
            frame = resize(picture.frame, self._size_px)
        else:
            frame = self._carry.onto(picture.frame)
            self._counters.frames_carried += 1
        return DecodedFrame(
            frame=frame,
            lr=picture.frame,
            lr_px=picture.sampling.size_px,
            neural=self._carry is not None,
            intact=picture.intact,
            decode_ms=picture.decode_ms,
            synthesize_ms=(time.perf_counter() - start) * 1000,
        )

    def _tell(self, due: DuePicture, decoded: DecodedFrame) -> None:
        """Count a picture and show it, when the one before has been seen for long enough."""
        wait_s = self._shown_at + due.rest_s - time.monotonic()
        if due.rest_s and wait_s > 0:
            time.sleep(wait_s)
        self._shown_at = time.monotonic()
        if not self._counters.frames:
            self._counters.first_shown_s = self._shown_at
        self._counters.frames += 1
        self._counters.frames_interpolated += due.interpolated
        self._counters.frames_neural += decoded.neural
        self._counters.lr_px = decoded.lr_px
        self._counters.lr_codec = due.picture.codec
        self._show(
            ShownFrame(
                decoded.frame,
                due.media_time_s,
                due.picture.timestamp,
                self._shown_at,
                decoded.neural,
                decoded.lr_px,
                decoded.lr,
                decoded.origins,
                decoded.whole,
                due.interpolated,
            )
        )
