"""The sending half of a call below the event loop: frames in, coded pictures and references out.

`encode` runs in one worker thread at a time; everything else is called from the event loop. What
the two share is a lock's worth of state: references to send and what to change next. References
are coded in a thread of their own, so that no frame waits for one.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gemino.call.stats import Counters
from gemino.config import EncoderConfig, Rung
from gemino.encoder import EncodedFrame, Encoder
from gemino.frames import Frame
from gemino.likeness import Thumbnail

Made = tuple[bytes, Thumbnail]
"""A coded reference, and what it shows."""


class PictureSender:
    """Runs a `gemino.Encoder` for the encoder slot of a video track."""

    def __init__(
        self,
        config: EncoderConfig,
        counters: Counters,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reference")
        self._encoder = Encoder(config, self._executor)
        self._counters = counters
        self._clock = clock
        self._lock = threading.Lock()
        self._references: list[Made] = []
        self._rung: Rung | None = None
        self._cost: tuple[int, float] | None = None
        self._keyframe = False
        self._wants_reference = False
        self._held: list[Thumbnail] = []
        self._primed: EncodedFrame | None = None
        self._coding = threading.Lock()  # while a picture is coded
        self._closed = False
        self._count_rung(config.rung)

    def prime(self, frame: Frame) -> None:
        """Encode the first frame before the call's time runs, and begin with its reference."""
        self._primed = self._run(frame, 0.0, force_keyframe=True)

    def start_over(self, rung: Rung) -> None:
        """Code as `rung` says after all; before the first `encode`. A primed reference stays."""
        self._primed, self._keyframe = None, True
        self.set_rung(rung)
        self._count_rung(rung)

    def look_evenly(self) -> None:
        """Have no fovea; before the first `encode`. A primed reference stays."""
        self._primed, self._keyframe = None, True
        self._encoder.look_evenly()

    def encode(self, frame: Frame, time_s: float, force_keyframe: bool) -> bytes:
        """One frame of any size, taken at `time_s`, as one coded LR picture.

        Raises CodecError. The frame that follows `prime` is taken as the primed one. Nothing comes
        of one that follows `close`: a source may have some left.
        """
        encoded, self._primed = self._primed, None
        if encoded is None:
            with self._coding:
                if self._closed:
                    return b""
                encoded = self._run(frame, time_s, force_keyframe=force_keyframe)
        self._counters.frames += 1
        self._counters.lr_bytes += len(encoded.lr)
        self._counters.key_frames += encoded.keyframe
        self._counters.plis += force_keyframe
        self._count_rung(encoded.rung)
        return encoded.lr

    def take_references(self) -> list[Made]:
        """The references that have been made since the last call."""
        with self._lock:
            references, self._references = self._references, []
        return references

    def close(self) -> None:
        """Make no more pictures and references; waits for the picture that is being coded."""
        with self._coding:
            self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)

    def set_rung(self, rung: Rung) -> None:
        """Change the LR stream from the next frame on."""
        with self._lock:
            self._rung = rung

    def pay_for_references(self, max_bytes: int, kbps: float) -> None:
        """What one reference may cost from the next frame on, and all on average over a minute."""
        with self._lock:
            self._cost = max_bytes, kbps

    def request_keyframe(self) -> None:
        """Make the next picture a key frame."""
        with self._lock:
            self._keyframe = True

    def request_reference(self) -> None:
        """Make a new reference of the next frame, if the last is old enough."""
        with self._lock:
            self._wants_reference = True

    def receiver_holds(self, seen: Thumbnail) -> None:
        """Take it into account that the receiver has a picture like `seen` from a former call."""
        with self._lock:
            self._held.append(seen)

    def _count_rung(self, rung: Rung) -> None:
        self._counters.lr_px, self._counters.lr_codec = rung.size_px, rung.codec

    def _run(self, frame: Frame, time_s: float, *, force_keyframe: bool) -> EncodedFrame:
        with self._lock:
            rung, self._rung = self._rung, None
            cost, self._cost = self._cost, None
            wants_reference, self._wants_reference = self._wants_reference, False
            held, self._held = self._held, []
            force_keyframe = force_keyframe or self._keyframe
            self._keyframe = False
        if rung is not None:
            self._encoder.set_rung(rung)
        if cost is not None:
            self._encoder.pay_for_references(*cost)
        for seen in held:
            self._encoder.receiver_holds(seen)
        if wants_reference:
            self._encoder.request_reference()
        started = self._clock()
        encoded = self._encoder.encode(frame, time_s, force_keyframe=force_keyframe)
        self._counters.frames_coded += 1
        self._counters.coding_ms.add((self._clock() - started) * 1000)
        if encoded.reference is not None and encoded.reference_of is not None:
            with self._lock:
                self._references.append((encoded.reference, encoded.reference_of))
        return encoded
