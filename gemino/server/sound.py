"""The page's sound: its own back, as after a call on a thin link, or the other side's."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.resampler import AudioResampler

from gemino.call.audio import OpusSlot
from gemino.call.opus import SAMPLE_RATE_HZ, OpusSettings, Samples
from gemino.call.soundcard import Deliver, Pull

_THIN = OpusSettings()
_CLEAR = OpusSettings(kbps=64.0, packet_ms=20)
_SOUNDS_LATER_S = 0.06
"""What the way to the browser and its own buffer take, about."""


async def _blocks(source: MediaStreamTrack, length: int) -> AsyncIterator[Samples]:
    """What `source` hears, mono at 48 kHz, in blocks of `length` samples, until it ends."""
    resampler = AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    rest = np.zeros(0, np.int16)
    while True:
        heard = await source.recv()
        assert isinstance(heard, av.AudioFrame)
        heard.pts = None  # the resampler counts for itself; a gap is none of its business
        parts = [part.to_ndarray().reshape(-1) for part in resampler.resample(heard)]
        rest = np.concatenate([rest, *parts]).astype(np.int16)
        while len(rest) >= length:
            yield rest[:length]
            rest = rest[length:]


class _Blocks(MediaStreamTrack):
    """Sends blocks of one packet each."""

    kind = "audio"

    def __init__(self, settings: OpusSettings) -> None:
        super().__init__()
        self.slot = OpusSlot(settings)
        self.length = SAMPLE_RATE_HZ * settings.packet_ms // 1000
        self._position = 0

    def _frame(self, block: Samples) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts, frame.time_base = self._position, Fraction(1, SAMPLE_RATE_HZ)
        self._position += self.length
        return frame


class Echo(_Blocks):
    """What the page's microphone hears, through Opus at 6 kbps."""

    def __init__(self, microphone: MediaStreamTrack) -> None:
        super().__init__(_THIN)
        self._heard = _blocks(microphone, self.length)

    async def recv(self) -> av.AudioFrame:
        try:
            return self._frame(await anext(self._heard))
        except StopAsyncIteration:
            raise MediaStreamError from None


class Exchange(_Blocks):
    """Gives `deliver` what the microphone hears, and sends what `pull` gives, at its own pace."""

    def __init__(self, microphone: MediaStreamTrack, deliver: Deliver, pull: Pull) -> None:
        super().__init__(_CLEAR)
        self._deliver, self._pull = deliver, pull
        self._start_s: float | None = None
        self._listening = asyncio.create_task(self._listen(microphone))

    def stop(self) -> None:
        """Listen and send no more."""
        super().stop()
        self._listening.cancel()

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        if self._start_s is None or now - self._due_s > 1:  # after a stall, go on from here
            self._start_s = now - self._position / SAMPLE_RATE_HZ
        await asyncio.sleep(max(self._due_s - now, 0))
        samples = await asyncio.to_thread(self._pull, self.length, _SOUNDS_LATER_S)
        return self._frame(samples)

    @property
    def _due_s(self) -> float:
        assert self._start_s is not None
        return self._start_s + self._position / SAMPLE_RATE_HZ

    async def _listen(self, microphone: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            async for block in _blocks(microphone, self.length):
                heard_s = time.monotonic() - len(block) / SAMPLE_RATE_HZ
                self._deliver(block, heard_s)
