"""What is sent of a screen: equally good pictures, as often as the rate pays for."""

import time
from collections.abc import Callable

import numpy as np

from gemino.call.stats import Counters
from gemino.config import LrCodec
from gemino.frames import Frame
from gemino.video.desktop import DesktopEncoder

_STILL_S = 1.0
"""A picture that does not change is sent so often: 30 bytes, by which a lost packet is noticed."""
_KEY_FRAME_EVERY_S = 2.0


class DesktopPictures:
    """Stands where `PictureSender` does; `encode` runs in one worker thread.

    kbps: what the stream may cost; may be changed at any time.
    """

    def __init__(
        self,
        codec: LrCodec,
        kbps: float,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kbps = kbps
        self._encoder = DesktopEncoder(codec)
        self._counters = counters
        self._clock = clock
        self._last: Frame | None = None
        self._sent_at = self._key_frame_at = self._paid_at = float("-inf")
        self._wants_key_frame = True

    def encode(self, frame: Frame, time_s: float, force_keyframe: bool) -> bytes:  # noqa: ARG002
        """One picture as `fitted` gives it, coded; b"" where it is not sent. Raises CodecError."""
        now = self._clock()
        self._counters.plis += force_keyframe
        self._wants_key_frame |= force_keyframe
        key_frame = self._wants_key_frame and now - self._key_frame_at >= _KEY_FRAME_EVERY_S
        if now < self._paid_at and not key_frame:
            return b""
        is_still = self._last is not None and np.array_equal(frame, self._last)
        if is_still and not key_frame and now - self._sent_at < _STILL_S:
            return b""
        picture = self._encoder.encode(frame, force_keyframe=key_frame)
        self._last, self._sent_at = frame, now
        if picture.keyframe:
            self._key_frame_at, self._wants_key_frame = now, False
        self._paid_at = max(self._paid_at, now) + len(picture.data) * 8 / 1000 / self.kbps
        self._counters.count_sent(
            len(picture.data),
            keyframe=picture.keyframe,
            seconds=self._clock() - now,
            px=max(frame.shape),
            codec=self._encoder.codec,
        )
        return picture.data
