"""Speech on a thin link: Opus at a few kbps in 60 ms packets.

A packet costs 50 bytes of headers, so the usual 20 ms packets would spend 20 kbps on headers; 60 ms
is the longest frame of Opus's speech mode (RFC 6716, section 2.1.4). Mono, variable rate: silence
costs about 2 kbps.
"""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc.codecs.base import Encoder
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from gemino.call.jitter import unwrap
from gemino.errors import CodecError

SAMPLE_RATE_HZ = 48_000
BLOCK_SAMPLES = 2_880
"""60 ms."""
MAX_PACKET_BYTES = 1_275
"""RFC 6716, section 3.2.1."""
_MAX_GAP_SAMPLES = 10 * SAMPLE_RATE_HZ
_TIME_BASE = Fraction(1, SAMPLE_RATE_HZ)
_TIMESTAMP_MODULUS = 1 << 32

Samples = NDArray[np.int16]


class OpusEncoder(Encoder):
    """Fills the encoder slot of an audio `RTCRtpSender`; one block in, one packet out."""

    def __init__(self, kbps: float) -> None:
        self.packets = 0
        self.payload_bytes = 0
        self.first: tuple[bytes, int] | None = None
        """The first payload and its timestamp before the sender's random offset."""
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.bit_rate = int(kbps * 1000)
        context.format = "s16"
        context.layout = "mono"
        context.sample_rate = SAMPLE_RATE_HZ
        context.time_base = _TIME_BASE
        context.options = {"application": "voip", "frame_duration": "60", "vbr": "on"}
        self._context = context

    def encode(
        self,
        frame: object,
        force_keyframe: bool = False,  # noqa: ARG002 - every Opus packet stands alone
    ) -> tuple[list[bytes], int]:
        """Encode one block of `BLOCK_SAMPLES` mono samples, `frame.pts` in samples."""
        assert isinstance(frame, av.AudioFrame)
        packets = self._context.encode(frame)
        if not packets:
            return [], 0
        # Opus delays by its look-ahead; its timestamps say so (the first is negative).
        return self._account([bytes(packet) for packet in packets], int(packets[0].pts or 0))

    def pack(self, packet: "av.Packet[Any]") -> tuple[list[bytes], int]:
        """Pass on a packet that is Opus already, its pts in samples."""
        return self._account([bytes(packet)], int(packet.pts or 0))

    def _account(self, payloads: list[bytes], timestamp: int) -> tuple[list[bytes], int]:
        if self.first is None:
            self.first = payloads[0], timestamp
        self.packets += len(payloads)
        self.payload_bytes += sum(map(len, payloads))
        return payloads, timestamp


class SoundTrack:
    """Received Opus packets as one continuous run of mono samples.

    Samples start at `origin`, an RTP timestamp that is known only once the sender has told what
    was captured when; packets wait for it. What is lost is silence, what comes late is dropped.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.payload_bytes = 0
        self._decoder = _open_decoder()
        self._waiting: list[tuple[int, bytes]] = []
        self._origin: int | None = None
        self._last = 0
        self._written = 0

    def start(self, origin: int) -> list[Samples]:
        """Fix the RTP timestamp of the first sample wanted; returns the samples so far."""
        self._origin = self._last = origin
        waiting, self._waiting = self._waiting, []
        return [block for timestamp, data in waiting for block in self._place(timestamp, data)]

    def add(self, timestamp: int, data: bytes) -> list[Samples]:
        """Take one packet; returns the samples that can be written now, in order."""
        if not 0 < len(data) <= MAX_PACKET_BYTES:
            return []
        self.packets += 1
        self.payload_bytes += len(data)
        if self._origin is None:
            if len(self._waiting) < 500:
                self._waiting.append((timestamp, data))
            return []
        return self._place(timestamp, data)

    def _place(self, timestamp: int, data: bytes) -> list[Samples]:
        assert self._origin is not None
        timestamp = unwrap(timestamp, self._last, _TIMESTAMP_MODULUS)
        at = timestamp - self._origin
        if abs(at - self._written) > _MAX_GAP_SAMPLES:
            return []  # no honest pause: do not fill a disk with silence
        self._last = timestamp
        try:
            samples = _decode(self._decoder, data)
        except CodecError:
            self._decoder = _open_decoder()
            return []
        blocks = []
        if at > self._written:
            blocks.append(np.zeros(at - self._written, np.int16))
        samples = samples[max(self._written - at, 0) :]
        if not len(samples):
            return []
        blocks.append(samples)
        self._written += sum(map(len, blocks))
        return blocks


def _open_decoder() -> AudioCodecContext:
    context = av.CodecContext.create("libopus", "r")
    assert isinstance(context, AudioCodecContext)
    context.format = "s16"
    context.layout = "mono"
    context.sample_rate = SAMPLE_RATE_HZ
    return context


def _decode(decoder: AudioCodecContext, data: bytes) -> Samples:
    try:
        frames = decoder.decode(av.Packet(data))
    except av.FFmpegError as error:
        raise CodecError(f"Opus packet is damaged: {error}") from error
    if not frames:
        return np.zeros(0, np.int16)
    blocks = [frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0] for frame in frames]
    return np.concatenate(blocks).astype(np.int16)
