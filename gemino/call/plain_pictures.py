"""What a plain WebRTC peer gets: VP8 that can be looked at, and no references."""

import threading
import time
from collections.abc import Callable
from fractions import Fraction

from gemino.call.sender import Made
from gemino.call.stats import Counters
from gemino.config import LadderSteps, Rung
from gemino.frames import Frame, resize
from gemino.likeness import Thumbnail
from gemino.video.lr import LrEncoder

_STEPS: LadderSteps = (
    (600.0, 1024),
    (300.0, 768),
    (130.0, 512),
    (75.0, 384),
    (36.0, 256),
    (18.0, 192),
    (10.0, 128),
    (0.0, 64),
)
"""A third above VP8's floors (docs/call.md): below them it leaves pictures out or breaks up."""


def plain_steps(size_px: int) -> LadderSteps:
    """The sizes for a source whose pictures have a side of `size_px`."""
    return tuple((kbps, min(px, size_px)) for kbps, px in _STEPS)


class PlainPictures:
    """Stands where `PictureSender` does, without references; `encode` runs in one worker thread."""

    def __init__(
        self,
        rung: Rung,
        fps: Fraction,
        counters: Counters,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._encoder = LrEncoder(rung, fps)
        self._counters = counters
        self._clock = clock
        self._lock = threading.Lock()
        self._rung: Rung | None = None

    def encode(self, frame: Frame, time_s: float, force_keyframe: bool) -> bytes:  # noqa: ARG002
        """One square frame of any size as a coded picture; raises CodecError."""
        with self._lock:
            rung, self._rung = self._rung, None
        if rung is not None:
            self._encoder.reconfigure(rung)
        started = self._clock()
        size_px = self._encoder.rung.size_px
        picture = self._encoder.encode(resize(frame, size_px), force_keyframe=force_keyframe)
        self._counters.plis += force_keyframe
        self._counters.count_sent(
            len(picture.data),
            keyframe=picture.keyframe,
            seconds=self._clock() - started,
            px=size_px,
            codec="vp8",
        )
        return picture.data

    def take_references(self) -> list[Made]:
        """None, ever."""
        return []

    def receiver_holds(self, seen: Thumbnail) -> None:
        """A plain peer holds none."""

    def set_rung(self, rung: Rung) -> None:
        """Change the stream from the next frame on."""
        with self._lock:
            self._rung = rung

    def pay_for_references(self, max_bytes: int, kbps: float) -> None:
        """There are none."""

    def request_keyframe(self) -> None:
        """Plain peers ask by RTCP, which reaches `encode`."""

    def request_reference(self) -> None:
        """There are none."""

    def close(self) -> None:
        """Nothing to end."""
