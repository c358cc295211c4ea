"""Speech on a thin link: Opus in the sender's slot, and what is received as samples.

A packet costs 50 bytes of headers, so the usual 20 ms packets would spend 20 kbps on headers; 60 ms
is the longest frame of Opus's speech mode (RFC 6716, section 2.1.4). Mono, variable rate; with DTX
silence costs next to nothing.

What is lost is made up for (`SpeechStream`): the last of a row of lost packets from the coarse copy
in the packet that follows, where the sender puts one there (FEC), the rest from the speech before
it. Sequence numbers tell a loss from silence that was not sent: both leave a gap in time, but only
a loss one in the numbers.
"""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc.codecs.base import Encoder

from gemino.call.jitter import unwrap
from gemino.call.opus import (
    MAX_PACKET_BYTES,
    SAMPLE_RATE_HZ,
    OpusDecoder,
    OpusEncoder,
    OpusSettings,
    Samples,
    has_fec_copy,
    packet_samples,
)
from gemino.call.sound_copies import joined, parted
from gemino.errors import CodecError

BLOCK_SAMPLES = 960
"""20 ms: what a source gives at a time."""
_DTX_BYTES = 2
_STEP_SAMPLES = 120
"""2.5 ms: what libopus conceals is a multiple of it."""
_CONCEALED_AT_ONCE = 960
_MOST_CONCEALED = SAMPLE_RATE_HZ // 2
"""In one gap; what is longer is silence."""
_FADE_SAMPLES = (SAMPLE_RATE_HZ * 6 // 100, SAMPLE_RATE_HZ * 2 // 10)
"""Where made-up speech begins to fade, and where it is gone."""
_QUIET_RMS = 100.0  # 50 dB below full scale
MAX_GAP_S = 10
"""A pause that is longer is none of this stream's: whoever takes what follows sees where it is."""
MAX_WAITING = 500
_SEQUENCE_MODULUS = 1 << 16
_TIMESTAMP_MODULUS = 1 << 32


class OpusSlot(Encoder):
    """Fills the encoder slot of an audio `RTCRtpSender`; one block in, at most one packet out.

    settings: may be replaced at any time, what follows is coded by them. copies: each packet brings
    the one before along (`sound_copies`).
    """

    def __init__(self, settings: OpusSettings) -> None:
        self.settings = settings
        self.copies = False
        self.packets = 0
        self.payload_bytes = 0
        self.first: tuple[bytes, int] | None = None
        """The first payload and its timestamp before the sender's random offset."""
        self._applied = settings
        self._encoder = OpusEncoder(settings)
        self._last = b"", 0
        """The packet before, and where it ends."""

    def encode(
        self,
        frame: object,
        force_keyframe: bool = False,  # noqa: ARG002 - every Opus packet stands alone
    ) -> tuple[list[bytes], int]:
        """Encode one packet's mono samples, `frame.pts` in samples; nothing where DTX says so."""
        assert isinstance(frame, av.AudioFrame)
        # Here and not when they are set: the event loop sets them while a thread may encode.
        if self.settings != self._applied:
            self._applied = self.settings
            self._encoder.set(self._applied)
        samples = np.asarray(frame.to_ndarray(), np.int16).reshape(-1)
        packet = self._encoder.encode(samples)
        if len(packet) <= _DTX_BYTES:
            self._last = b"", 0
            return [], 0
        at = int(frame.pts or 0)
        joint, self._last = self._with_copy(packet, at), (packet, at + len(samples))
        return self._account(joint, at - self._encoder.lookahead)

    def pack(self, packet: "av.Packet[Any]") -> tuple[list[bytes], int]:
        """Pass on a packet that is Opus already, its pts in samples."""
        return self._account(bytes(packet), int(packet.pts or 0))

    def _with_copy(self, packet: bytes, at: int) -> bytes:
        before, end = self._last
        both = joined(before, packet) if self.copies and at == end else None
        return packet if both is None or len(both) > MAX_PACKET_BYTES else both

    def _account(self, payload: bytes, timestamp: int) -> tuple[list[bytes], int]:
        if self.first is None:
            self.first = payload, timestamp
        self.packets += 1
        self.payload_bytes += len(payload)
        return [payload], timestamp


@dataclass(frozen=True, slots=True)
class SoundPacket:
    """One RTP packet of Opus. sequence, timestamp: as in its header."""

    sequence: int
    timestamp: int
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """at: timestamp of the first of `samples`, counted on without wrapping around."""

    at: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class _Waiting:
    timestamp: int
    data: bytes
    is_copy: bool = False


class SpeechStream:
    """Packets to samples, in order and without gaps.

    copies: packets of two frames are a copy and a packet (`sound_copies`). position: timestamp of
    the sample that comes next, None before the first packet. lost, recovered: packets that never
    came in time, and those of them that a copy brought back. copy_samples: how many the latest
    packet brought copies of.
    """

    def __init__(self, *, copies: bool = True) -> None:
        self.copies = copies
        self.copy_samples = 0
        self.position: int | None = None
        self.lost = 0
        self.recovered = 0
        self._decoder = OpusDecoder()
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        self._concealed = 0
        """Samples made up since the last packet."""
        self._quiet = True

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, packet: SoundPacket) -> int | None:
        """Take a packet; its timestamp, counted on, or None where it is damaged or too late."""
        copy, data = parted(packet.data) if self.copies else (None, packet.data)
        samples = packet_samples(data)
        if not samples:
            return None
        if self.position is None:
            self._next, self.position = packet.sequence, packet.timestamp
        sequence = unwrap(packet.sequence, self._next, _SEQUENCE_MODULUS)
        timestamp = unwrap(packet.timestamp, self.position, _TIMESTAMP_MODULUS)
        if abs(sequence - self._next) >= MAX_WAITING:  # another source, or a long way back
            self._waiting.clear()
            self._next = sequence
        if sequence < self._next:
            return None
        self._waiting[sequence] = _Waiting(timestamp, data)
        if copy is not None and sequence > self._next:
            earlier = _Waiting(timestamp - samples, copy, is_copy=True)
            self._waiting.setdefault(sequence - 1, earlier)
        self.copy_samples = samples if copy is not None or has_fec_copy(data) else 0
        return timestamp

    @property
    def first(self) -> int | None:
        """Timestamp of the first packet that waits."""
        return self._waiting[min(self._waiting)].timestamp if self._waiting else None

    def take(self, made_up: int = 0) -> Speech | None:
        """What comes next, if its packet is there; silence that was not sent belongs to it.

        made_up: samples after the last packet that `conceal` has given.
        """
        return self._decode(self._next, made_up) if self._next in self._waiting else None

    def skip(self, made_up: int = 0) -> Speech | None:
        """Give up what is missing before the next packet that is there; None where none is."""
        if not self._waiting:
            return None
        return self._decode(min(self._waiting), made_up)

    def conceal(self) -> Samples:
        """20 ms to play while nothing is there; `position` stays where it is.

        Speech fades away: libopus would hold a vowel for a second. Silence goes on as it was.
        """
        try:
            made_up = self._decoder.conceal(_CONCEALED_AT_ONCE)
        except CodecError:
            return np.zeros(_CONCEALED_AT_ONCE, np.int16)
        since = self._concealed + np.arange(_CONCEALED_AT_ONCE)
        self._concealed += _CONCEALED_AT_ONCE
        if self._quiet:
            return made_up
        gain = np.clip((_FADE_SAMPLES[1] - since) / (_FADE_SAMPLES[1] - _FADE_SAMPLES[0]), 0, 1)
        return np.asarray(made_up * gain, np.int16)

    def _decode(self, sequence: int, made_up: int) -> Speech:
        assert self.position is not None
        waiting = self._waiting.pop(sequence)
        timestamp, data = waiting.timestamp, waiting.data
        missing = sequence - self._next
        self.lost += missing + waiting.is_copy
        self.recovered += waiting.is_copy
        self._next = sequence + 1
        gap = timestamp - self.position
        if not 0 < gap < MAX_GAP_S * SAMPLE_RATE_HZ:
            gap = 0  # whoever takes it sees where it is
        at = self.position + min(made_up, gap)
        filled = self._fill(gap - made_up, data, missing)
        try:
            samples = self._decoder.decode(data)
        except CodecError:
            samples = np.zeros(packet_samples(data), np.int16)
        self.position = timestamp + len(samples)
        self._concealed, self._quiet = 0, is_quiet(samples)
        return Speech(at if len(filled) else timestamp, np.concatenate([filled, samples]))

    def _fill(self, gap: int, following: bytes, missing: int) -> Samples:
        """`gap` samples before the packet `following`."""
        if gap <= 0:
            return np.zeros(0, np.int16)
        blocks = []
        length = packet_samples(following)
        there = missing > 0 and has_fec_copy(following) and length % _STEP_SAMPLES == 0
        copied = min(length, gap) if there else 0
        rest = gap - copied
        for _ in range(min(rest, _MOST_CONCEALED) // _CONCEALED_AT_ONCE):
            blocks.append(self.conceal())
            rest -= _CONCEALED_AT_ONCE
        blocks.append(np.zeros(rest, np.int16))
        if copied:
            try:  # what was made up already is left out at its start
                blocks.append(self._decoder.recover(following, length)[-copied:])
                self.recovered += 1
            except CodecError:
                blocks.append(np.zeros(copied, np.int16))
        return np.concatenate(blocks)


def is_quiet(samples: Samples) -> bool:
    """Whether nobody speaks in `samples`."""
    return not len(samples) or float(np.sqrt(np.mean(samples.astype(np.float32) ** 2))) < _QUIET_RMS
