"""The receiving half of a call below the event loop: coded pictures in, shown frames out.

One thread decodes every coded picture, in order. Of those that `Playout` says are due together it
hands the newest to a rebuilder, so that a slow machine skips frames and never falls behind. There
are two rebuilders, of one core each: a frame does not depend on the one before, and two frames at a
time waste nothing on waiting for each other, as two cores on one frame do. One thread makes new
references ready beside them, and a last one shows what is rebuilt, in order. Where that is not fast
enough, the network draws smaller pictures (`governor`).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from gemino.call.display import ShownFrame
from gemino.call.governor import Governor
from gemino.call.jitter import Picture
from gemino.call.playout import DuePicture, Playout
from gemino.call.stats import Counters
from gemino.config import REFERENCES_HELD, LrCodec
from gemino.decoder import DecodedFrame, Decoder
from gemino.errors import CallError, CodecError, GeminoError
from gemino.runtime import Runtime, Synthesizer, open_synthesizer

logger = logging.getLogger(__name__)

REBUILDERS = 2
_Rebuilt = tuple[DuePicture, Future[DecodedFrame]]


class Viewer:
    """Opens the model, then shows what is pushed; `show` is called in a thread of its own.

    ready: the model is loaded. model_name: what it calls itself. failure: why there is no viewer
    (ModelError ...). wants_keyframe, rejected_references: for the event loop to read.
    """

    def __init__(
        self,
        model: str | Path | None,
        size_px: int,
        counters: Counters,
        show: Callable[[ShownFrame], None],
        runtime: Runtime = "auto",
    ) -> None:
        self.ready = threading.Event()
        self.model_name = ""
        self.failure: GeminoError | None = None
        self.wants_keyframe = False
        self.rejected_references = 0
        self._model = model
        self._runtime = runtime
        self._size_px = size_px
        self._counters = counters
        self._show = show
        self._playout = Playout()
        self._references: list[bytes] = []
        self._closing = False
        self._forgets = False
        self._codec: LrCodec = "vp8"
        self._governor = Governor((size_px,), REBUILDERS)
        self._drawn_px = size_px
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._thread.start()

    def push(self, pictures: list[Picture]) -> None:
        """Hand over complete coded pictures, in order."""
        with self._changed:
            for picture in pictures:
                self._playout.push(picture)
            self._changed.notify()

    def add_reference(self, data: bytes) -> None:
        """Hand over a complete reference."""
        with self._changed:
            self._references.append(data)
            del self._references[:-REFERENCES_HELD]  # a peer may send faster than we decode
            self._changed.notify()

    def forget_references(self) -> None:
        """Hold none any more: what comes next is of somebody else."""
        with self._changed:
            self._references.clear()
            self._forgets = True
            self._changed.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Show what is due and stop; does not wait for a model that is still loading."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self.ready.is_set():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            synthesizer = open_synthesizer(self._model, self._size_px, runtime=self._runtime)
            self.model_name = synthesizer.name
            self._rebuild(Decoder(synthesizer, self._codec))
        except GeminoError as error:
            self.failure = error
        except Exception as error:  # a thread's edge: else the call would go on and show nothing
            logger.debug("the viewer failed", exc_info=True)
            self.failure = CallError(f"pictures cannot be rebuilt any more: {error}")
        finally:
            self.ready.set()

    def _rebuild(self, decoder: Decoder) -> None:
        # One frame waits here while the shower waits for the one before it: as many are under way
        # as there are rebuilders, and the next is taken only when there is room for it.
        under_way: queue.Queue[_Rebuilt | None] = queue.Queue(REBUILDERS - 1)
        shower = threading.Thread(
            target=self._show_all, args=(under_way,), name="shower", daemon=True
        )
        synthesizer = decoder.synthesizer
        self._governor = Governor(synthesizer.drawable_px, REBUILDERS)
        self._drawn_px = asked_px = self._governor.size_px
        shower.start()
        self.ready.set()
        try:
            with (
                ThreadPoolExecutor(REBUILDERS, thread_name_prefix="rebuilder") as pool,
                ThreadPoolExecutor(1, thread_name_prefix="reference") as beside,
            ):
                while (work := self._next_work()) is not None:
                    batch, references = work
                    if self._forgets:
                        self._forgets = False
                        beside.submit(synthesizer.forget_references)
                    for reference in references:
                        beside.submit(self._use, decoder, reference)
                    decoder = self._play(decoder, batch, pool, under_way)
                    if asked_px != self._governor.size_px:
                        asked_px = self._governor.size_px
                        beside.submit(self._draw_at, synthesizer, asked_px)
        finally:
            under_way.put(None)
            shower.join()

    def _next_work(self) -> tuple[list[DuePicture], list[bytes]] | None:
        with self._changed:
            while not (len(self._playout) or self._references or self._forgets):
                if self._closing:
                    return None
                self._changed.wait()
            references, self._references = self._references, []
            batch = self._playout.take(time.monotonic())
            self._counters.frames_dropped = self._playout.skipped + self._playout.overflowed
        return batch, references

    def _use(self, decoder: Decoder, reference: bytes) -> None:
        try:
            decoder.add_reference(reference)
        except CodecError:
            self.rejected_references += 1
        except Exception as error:  # a thread's edge: nobody looks at this one's result
            logger.debug("a reference cannot be made ready", exc_info=True)
            self.failure = CallError(f"references cannot be used any more: {error}")
        else:
            self._counters.references += 1

    def _draw_at(self, synthesizer: Synthesizer, size_px: int) -> None:
        try:
            synthesizer.draw_at(size_px)
        except Exception as error:  # a thread's edge: nobody looks at this one's result
            logger.debug("the network cannot draw %d px", size_px, exc_info=True)
            self.failure = CallError(f"pictures cannot be drawn at {size_px} px: {error}")
        else:
            logger.info("the network draws %d px now", size_px)
            self._drawn_px = size_px
            own = size_px == synthesizer.output_px
            self._counters.drawn_px = 0 if own else size_px

    def _play(
        self,
        decoder: Decoder,
        batch: list[DuePicture],
        pool: ThreadPoolExecutor,
        under_way: "queue.Queue[_Rebuilt | None]",
    ) -> Decoder:
        """Decode `batch` and have its last picture shown; returns the decoder for what follows."""
        newest = None
        for due in batch:
            if due.picture.codec != self._codec:
                self._codec = due.picture.codec
                decoder = Decoder(decoder.synthesizer, self._codec)
            picture = decoder.decode_lr(due.picture.data, due.picture.index)
            self._counters.frames_coded += 1
            self._governor.came(due.media_time_s)
            self.wants_keyframe = decoder.wants_keyframe
            if picture is not None:
                self._counters.coding_ms.add(picture.decode_ms)
                newest = (due, picture)
        if newest is not None:
            due, picture = newest
            under_way.put((due, pool.submit(decoder.rebuild, picture)))
        return decoder

    def _show_all(self, under_way: "queue.Queue[_Rebuilt | None]") -> None:
        while (rebuilt := under_way.get()) is not None:
            due, future = rebuilt
            try:
                decoded = future.result()
            except Exception as error:  # a thread's edge: else the call would show nothing
                logger.debug("a frame cannot be rebuilt", exc_info=True)
                self.failure = CallError(f"pictures cannot be rebuilt any more: {error}")
                continue
            self._counters.frames += 1
            self._counters.frames_neural += decoded.neural
            self._counters.synthesize_ms.add(decoded.synthesize_ms)
            # While another size is made ready, pictures of the old one say nothing about it.
            if decoded.neural and self._drawn_px == self._governor.size_px:
                self._governor.rebuilt(decoded.synthesize_ms / 1000, time.monotonic())
            self._counters.lr_px = decoded.lr_px
            self._counters.lr_codec = due.picture.codec
            self._show(
                ShownFrame(
                    decoded.frame,
                    due.media_time_s,
                    due.picture.timestamp,
                    time.monotonic(),
                    decoded.neural,
                    decoded.lr_px,
                )
            )
