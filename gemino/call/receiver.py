"""The receiving half of a call below the event loop: coded pictures in, shown frames out.

One thread decodes every coded picture, in order. Of those that `Playout` says are due together it
hands the newest to a rebuilder, so that a slow machine skips frames and never falls behind. There
are two rebuilders, of one core each: a frame does not depend on the one before, and two frames at a
time waste nothing on waiting for each other, as two cores on one frame do. One thread makes new
references ready beside them, and a last one shows what is rebuilt, in order. Where that is not fast
enough, fewer pictures are drawn, or cheaper ones (`governor`); those between take the detail of the
last drawn one along (`carry`). A thin stream has half of the pictures: the others are made first
(`doubling`), as long as nothing is late.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gemino.adapters import AdapterFile
from gemino.call.display import ShownFrame
from gemino.call.doubling import Doubling, Small
from gemino.call.governor import Governor, Mode, modes
from gemino.call.jitter import Picture
from gemino.call.playout import DuePicture, Playout
from gemino.call.shower import Shower, UnderWay
from gemino.call.stats import Counters
from gemino.config import REFERENCES_HELD, LrCodec, Sampling
from gemino.decoder import Decoder, LrPicture
from gemino.errors import CallError, CodecError, GeminoError
from gemino.runtime import Device, Drawing, Runtime, Synthesizer, adopt, open_synthesizer, timings
from gemino.runtime.base import ClassicalSynthesizer

logger = logging.getLogger(__name__)

REBUILDERS = 2


class Viewer:
    """Opens the model, then shows what is pushed; `show` is called in a thread of its own.

    likely: what the LR pictures will be, as far as is known: the network is made ready for them.
    ready: the model is loaded. model_name: what it calls itself. way: what runs it.
    wants_keyframe, rejected_references, lacking (a reference of the scene): for the event loop to
    read.
    """

    def __init__(
        self,
        model: str | Path | None,
        size_px: int,
        counters: Counters,
        show: Callable[[ShownFrame], None],
        runtime: Runtime = "auto",
        device: Device = "auto",
        likely: Sampling | None = None,
    ) -> None:
        self.ready = threading.Event()
        self.model_name = ""
        self.way = ""
        self._failure: GeminoError | None = None
        self.wants_keyframe = self.lacking = False
        self.rejected_references = 0
        self._model = model
        self._runtime = runtime
        self._device = device
        self._likely = likely
        self._size_px = size_px
        self._counters = counters
        self._show = show
        self._playout = Playout()
        self._references: list[bytes] = []
        self._using = 0
        """References under way to the synthesizer: others wait, and few of them do."""
        self._adapters: deque[tuple[AdapterFile, Callable[[], None]]] = deque(maxlen=1)
        self._closing = False
        self._forgets = False
        self._codec: LrCodec = "vp8"
        self.plain = False
        """The stream comes from a peer that is no Gemino: no network; to be set before it comes."""
        self.explains = False
        """Say of each drawn picture where its detail comes from; to be set at any time."""
        self._shower: Shower | None = None
        self._since_drawn = 0
        self._doubling = Doubling()
        self._expected: Sampling | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing is shown, or nothing more."""
        return self._failure or (None if self._shower is None else self._shower.failure)

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

    def adopt(self, adapter: AdapterFile, proved: Callable[[], None]) -> None:
        """Have the other person drawn with their `adapter`, where they are seen.

        proved: called where it fits the network, in a thread of ours.
        """
        with self._changed:
            self._adapters.append((adapter, proved))
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
            synthesizer = open_synthesizer(
                self._model, self._size_px, runtime=self._runtime, device=self._device, live=True
            )
            self.model_name, self.way = synthesizer.name, synthesizer.way
            self._rebuild(Decoder(synthesizer, self._codec))
        except GeminoError as error:
            self._failure = error
        except Exception as error:  # a thread's edge: else the call would go on and show nothing
            logger.debug("the viewer failed", exc_info=True)
            self._failure = CallError(f"pictures cannot be rebuilt any more: {error}")
        finally:
            self.ready.set()

    def _rebuild(self, decoder: Decoder) -> None:
        synthesizer = decoder.synthesizer
        governor = Governor(modes(synthesizer.drawings), REBUILDERS)
        what = f"{synthesizer.name} {self._size_px} px {synthesizer.way}, in a call"
        if (known_s := timings.recall(what)) is not None:
            governor.begin(known_s)
        asked = governor.mode.drawing
        under_way = UnderWay(REBUILDERS)
        shower = Shower(self._size_px, self._counters, self._show, governor)
        thread = threading.Thread(target=shower.run, args=(under_way,), name="shower", daemon=True)
        self._shower = shower
        thread.start()
        if self._likely is not None:
            self._expected = self._likely
            self._expect(synthesizer, self._likely)
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
                    while self._adapters:
                        beside.submit(self._adopt, synthesizer, *self._adapters.popleft())
                    for reference in references:
                        beside.submit(self._use, decoder, reference)
                    decoder, small = self._decode(decoder, batch, governor)
                    for due, picture in small:
                        sampling = picture.sampling
                        if picture.whole is None and sampling != self._expected:
                            self._expected = sampling
                            beside.submit(self._expect, synthesizer, sampling)
                        mode = governor.mode
                        self._hand_over(decoder, due, picture, mode, pool, under_way)
                    if asked != governor.mode.drawing:
                        asked = governor.mode.drawing
                        beside.submit(self._draw_as, synthesizer, asked, shower)
        finally:
            under_way.end()
            thread.join()
            if governor.full_s is not None:
                timings.keep(what, governor.full_s)

    def _next_work(self) -> tuple[list[DuePicture], list[bytes]] | None:
        with self._changed:
            while not self._has_work():
                if self._closing:
                    return None
                self._changed.wait()
            references: list[bytes] = []
            if not self._using:
                references, self._references = self._references, []
                self._using = len(references)
            batch = self._playout.take(time.monotonic())
            self._counters.frames_dropped = self._playout.skipped + self._playout.overflowed
        return batch, references

    def _has_work(self) -> bool:
        usable = self._references and not self._using
        return bool(len(self._playout) or usable or self._forgets or self._adapters)

    def _use(self, decoder: Decoder, reference: bytes) -> None:
        try:
            decoder.add_reference(reference)
        except CodecError:
            self.rejected_references += 1
        except Exception as error:  # a thread's edge: nobody looks at this one's result
            logger.debug("a reference cannot be made ready", exc_info=True)
            self._failure = CallError(f"references cannot be used any more: {error}")
        else:
            self._counters.references += 1
        finally:
            with self._changed:
                self._using -= 1
                self._changed.notify()

    def _adopt(
        self, synthesizer: Synthesizer, adapter: AdapterFile, proved: Callable[[], None]
    ) -> None:
        try:
            adopt(synthesizer, self._model or "", adapter, self._device)
        except GeminoError as error:
            logger.warning("the adapter that the other peer lends is not used: %s", error)
        except Exception as error:  # a thread's edge: nobody looks at this one's result
            logger.debug("an adapter cannot be made ready", exc_info=True)
            logger.warning("the adapter that the other peer lends cannot be used: %s", error)
        else:
            self._counters.adapter = adapter.hash_name
            proved()

    def _expect(self, synthesizer: Synthesizer, sampling: Sampling) -> None:
        if sampling != self._expected:
            return  # the stream has changed again meanwhile
        try:
            synthesizer.expect(sampling)
        except Exception as error:  # a thread's edge: nobody looks at this one's result
            logger.debug("the network cannot be made ready for %s", sampling, exc_info=True)
            px = sampling.size_px
            self._failure = CallError(f"pictures of {px} px cannot be rebuilt: {error}")

    def _draw_as(self, synthesizer: Synthesizer, drawing: Drawing, shower: Shower) -> None:
        try:
            synthesizer.draw_as(drawing)
        except Exception as error:  # a thread's edge: nobody looks at this one's result
            logger.debug("the network cannot draw as %s", drawing, exc_info=True)
            self._failure = CallError(f"pictures cannot be drawn at {drawing.size_px} px: {error}")
        else:
            logger.info("%s draws at %d px now", drawing.model, drawing.size_px)
            shower.drawing = drawing
            own = drawing == synthesizer.drawings[0]
            self._counters.drawn_px = 0 if own else drawing.size_px
            self._counters.drawn_by = "" if own else drawing.model

    def _decode(
        self, decoder: Decoder, batch: list[DuePicture], governor: Governor
    ) -> tuple[Decoder, list[Small]]:
        """Decode `batch`: the decoder for what follows, and the picture or two to be shown."""
        small: list[Small] = []
        for due in batch:
            if (due.picture.codec, self.plain) != (self._codec, decoder.plain):
                self._codec = due.picture.codec
                own = ClassicalSynthesizer(self._size_px) if self.plain else decoder.synthesizer
                decoder = Decoder(own, self._codec, plain=self.plain)
            picture = decoder.decode_lr(due.picture.data, due.picture.index)
            self._counters.frames_coded += 1
            self.wants_keyframe = decoder.wants_keyframe
            self.lacking = decoder.synthesizer.lacking
            if picture is None:
                governor.came(due.media_time_s)
                continue
            self._counters.coding_ms.add(picture.decode_ms)
            small = self._doubling.take(due, picture, late=len(batch) > 1)
            for shown, _ in small:
                governor.came(shown.media_time_s)
        return decoder, small

    def _hand_over(
        self,
        decoder: Decoder,
        due: DuePicture,
        picture: LrPicture,
        mode: Mode,
        pool: ThreadPoolExecutor,
        under_way: UnderWay,
    ) -> None:
        """Have a picture drawn, or made from the last drawn one; waits for room."""
        self._counters.drawn_every = mode.every
        self._since_drawn += 1
        if picture.whole is not None:
            under_way.draw(due, lambda: pool.submit(decoder.rebuild, picture))
            return
        waits = self._since_drawn < mode.every and decoder.synthesizer.neural
        if waits or not decoder.synthesizer.ready(picture.sampling):
            under_way.carry(due, picture)
            return
        self._since_drawn = 0
        explain = self.explains
        under_way.draw(due, lambda: pool.submit(decoder.rebuild, picture, explain=explain))
