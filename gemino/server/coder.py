"""The sending side of the try-out: each camera picture coded twice, by Gemino and by plain VP8.

Plain VP8 gets the same rate, and the size at which it can keep to it: what a call without Gemino
would send over such a link, enlarged by whoever receives it.

Encoders spend by the picture and count on as many a second as are sent at that rate. Where fewer
come, from a slow camera or a busy machine, each gets more: both streams cost what was asked.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

from gemino.call.adaptation import Budget, split
from gemino.call.jitter import Picture
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.config import (
    MAX_KBPS,
    EncoderConfig,
    LadderSteps,
    LrCodec,
    Rung,
    first_reference_bytes,
    frame_step,
    ladder,
)
from gemino.encoder import Encoder
from gemino.frames import Frame, prepare, resize
from gemino.server.messages import Settings
from gemino.server.windows import StreamRate, Window
from gemino.video.lr import LrDecoder, LrEncoder

LR_CODEC: LrCodec = "av1"
_REOPEN_S = 0.3
"""A slider that is being dragged does not open an encoder for each of its steps."""
_PLAIN_KEPT = 16
_PACE_EVERY_S = 2.0
_CAMERA_FPS = 30
_PACES = (1.0, 1.5, 2.0, 3.0, 4.0)


def most_fps(kbps: float) -> Fraction:
    """How many pictures of a browser's camera are sent, at most, at this total rate."""
    return Fraction(_CAMERA_FPS, frame_step(Fraction(_CAMERA_FPS), kbps))


def timestamp_of(taken_s: float) -> int:
    """`taken_s` (monotonic) as an RTP timestamp."""
    return round(taken_s * VIDEO_CLOCK_HZ) % (1 << 32)


class Coder:
    """Codes pictures in one thread; `push` gets Gemino's, `add_reference` its references.

    size_px: side of the picture that is rebuilt. steps: the model's ladder. rate, plain_rate: what
    both streams cost. lr: the latest LR picture as it is decoded.
    """

    def __init__(
        self,
        size_px: int,
        steps: LadderSteps | None,
        push: Callable[[Picture], None],
        add_reference: Callable[[bytes], None],
    ) -> None:
        self.rate, self.plain_rate = StreamRate(), StreamRate()
        self.rung = Rung(LR_CODEC)
        self.plain_px = 0
        self.references = 0
        self.reference_at: float | None = None
        self.lr: Frame | None = None
        self._size_px = size_px
        self._steps = steps
        self._push = push
        self._add_reference = add_reference
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="reference")
        self._encoder: Encoder | None = None
        self._budget: Budget | None = None
        self._kbps = 0.0
        self._opened_at = 0.0
        self._index = 0
        self._taken = Window()
        self._pace = self._pace_wanted = 1.0
        self._paced_at = 0.0
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        self._plain: tuple[LrEncoder, LrDecoder] | None = None
        self._plain_waiting: deque[tuple[int, Frame]] = deque(maxlen=_PLAIN_KEPT)
        self._plain_shown: Frame | None = None
        self._lock = threading.Lock()  # of the two above
        self._thumbnails = LrDecoder(LR_CODEC)

    def code(self, frame: Frame, taken_s: float, settings: Settings, now: float) -> None:
        """One camera picture, uint8 [H, W, 3] of any shape; raises CodecError."""
        picture = prepare(frame, self._size_px)
        if settings.kbps != self._kbps and now - self._opened_at >= _REOPEN_S:
            self._open(settings.kbps, now)
        self._deliver(now)
        self._taken.add(1, now)
        self._keep_pace(now)
        timestamp = timestamp_of(taken_s)
        if settings.split:
            self._code_plain(picture, timestamp, now)
        else:
            self._plain, self.plain_px = None, 0
        assert self._encoder is not None
        encoded = self._encoder.encode(picture, taken_s)
        self.rung = encoded.rung
        self.rate.picture(len(encoded.lr), now)
        coded = Picture(self._index, timestamp, encoded.lr, now, LR_CODEC)
        self._index += 1
        if encoded.reference is not None:
            self._send(encoded.reference, now)
        self._push(coded)
        self.lr = self._thumbnails.decode(encoded.lr)

    def plain(self, timestamp: int) -> Frame | None:
        """What plain VP8 shows of the picture with this timestamp, or else of the one before."""
        with self._lock:
            while self._plain_waiting:
                behind = (timestamp - self._plain_waiting[0][0]) % (1 << 32)
                if behind >= 1 << 31:
                    break
                self._plain_shown = self._plain_waiting.popleft()[1]
            return self._plain_shown

    def close(self) -> None:
        """Make no more references."""
        self._beside.shutdown(wait=False, cancel_futures=True)

    def _open(self, kbps: float, now: float) -> None:
        self._kbps, self._opened_at = kbps, now
        self._budget = budget = split(kbps, self._size_px, LR_CODEC, self._steps)
        config = EncoderConfig(
            output_px=self._size_px,
            rung=self._paced(budget.rung),
            fps=most_fps(kbps),
            reference_max_bytes=budget.reference_max_bytes,
            reference_kbps=budget.reference_kbps,
            first_reference_bytes=None if self.references else first_reference_bytes(self._size_px),
        )
        self._encoder = Encoder(config, self._beside)
        self._plain = None

    def _keep_pace(self, now: float) -> None:
        """Follow the rate of pictures, where it has changed for good: it costs key frames."""
        if now - max(self._paced_at, self._opened_at) < _PACE_EVERY_S:
            return
        self._paced_at = now
        fewer = float(most_fps(self._kbps)) / max(self._taken.per_second(now), 1.0)
        before, self._pace_wanted = self._pace_wanted, min(_PACES, key=lambda p: abs(p - fewer))
        if before == self._pace_wanted != self._pace:
            self._pace = self._pace_wanted
            assert self._encoder is not None
            assert self._budget is not None
            self._encoder.set_rung(self._paced(self._budget.rung))
            self._plain = None

    def _paced(self, rung: Rung) -> Rung:
        kbps = min(rung.video_kbps * self._pace, MAX_KBPS)
        return replace(rung, size_px=min(rung.size_px, self._size_px), video_kbps=kbps)

    def _send(self, reference: bytes, now: float) -> None:
        assert self._budget is not None
        seconds = len(reference) / (self._budget.reference_pace_kbps * 125)
        self._on_the_way.append((now + seconds, reference))
        self.rate.reference(len(reference), now)

    def _deliver(self, now: float) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= now:
            self._add_reference(self._on_the_way.popleft()[1])
            self.references += 1
            self.reference_at = now

    def _code_plain(self, picture: Frame, timestamp: int, now: float) -> None:
        if self._plain is None:
            rung = self._paced(ladder(self._kbps, "vp8"))
            self._plain = LrEncoder(rung, most_fps(self._kbps)), LrDecoder("vp8")
            self.plain_px = rung.size_px
        encoder, decoder = self._plain
        data = encoder.encode(resize(picture, self.plain_px)).data
        self.plain_rate.picture(len(data), now)
        shown = resize(decoder.decode(data), self._size_px)
        with self._lock:
            self._plain_waiting.append((timestamp, shown))
