"""The microphone's sound, back to the page as it would sound after a call on a thin link."""

from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack
from av.audio.resampler import AudioResampler

from gemino.call.audio import OpusSlot
from gemino.call.opus import SAMPLE_RATE_HZ, OpusSettings

_SPEECH = OpusSettings()
_BLOCK_SAMPLES = SAMPLE_RATE_HZ * _SPEECH.packet_ms // 1000


def echo_encoder() -> OpusSlot:
    """For the slot of the sender that carries an `Echo`."""
    return OpusSlot(_SPEECH)


class Echo(MediaStreamTrack):
    """What `source` hears, mono, in blocks of one packet."""

    kind = "audio"

    def __init__(self, source: MediaStreamTrack) -> None:
        super().__init__()
        self._source = source
        self._resampler = AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
        self._rest = np.zeros(0, np.int16)
        self._position = 0

    async def recv(self) -> av.AudioFrame:
        while len(self._rest) < _BLOCK_SAMPLES:
            heard = await self._source.recv()
            assert isinstance(heard, av.AudioFrame)
            heard.pts = None  # the resampler counts for itself; a gap is none of its business
            parts = [part.to_ndarray().reshape(-1) for part in self._resampler.resample(heard)]
            self._rest = np.concatenate([self._rest, *parts]).astype(np.int16)
        block, self._rest = self._rest[:_BLOCK_SAMPLES], self._rest[_BLOCK_SAMPLES:]
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts, frame.time_base = self._position, Fraction(1, SAMPLE_RATE_HZ)
        self._position += _BLOCK_SAMPLES
        return frame
