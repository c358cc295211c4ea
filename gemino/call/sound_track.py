"""Received sound as one continuous run of samples, for a file."""

import numpy as np

from gemino.call.audio import MAX_GAP_S, MAX_WAITING, SoundPacket, Speech, SpeechStream
from gemino.call.jitter import unwrap
from gemino.call.opus import MAX_PACKET_BYTES, SAMPLE_RATE_HZ, Samples

_SILENCE = np.zeros(SAMPLE_RATE_HZ, np.int16)
_HOLD_S = 0.12
"""How long a packet that overtook another waits for it."""
_TIMESTAMP_MODULUS = 1 << 32


class SoundTrack:
    """Received Opus packets as one continuous run of mono samples, for a file.

    Samples start at `origin`, an RTP timestamp that is known only once the sender has told what
    was captured when; packets wait for it. A packet that overtook another waits for that one a
    little; what comes later still is dropped.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.payload_bytes = 0
        self._stream = SpeechStream()
        self._early: list[SoundPacket] = []
        self._origin: int | None = None
        self._written = 0
        self._wrote_at: float | None = None
        self._gap_since: float | None = None

    @property
    def lost(self) -> int:
        """Packets that never came."""
        return self._stream.lost

    @property
    def recovered(self) -> int:
        """Those of them that a copy brought back."""
        return self._stream.recovered

    def expect_copies(self, *, copies: bool) -> None:
        """Whether packets of two frames are a copy and a packet; from the start they are."""
        self._stream.copies = copies

    def start(self, origin: int, now: float) -> list[Samples]:
        """Fix the RTP timestamp of the first sample wanted; returns the samples so far."""
        self._origin = origin
        early, self._early = self._early, []
        return [block for packet in early for block in self._put(packet, now)]

    def add(self, packet: SoundPacket, now: float) -> list[Samples]:
        """Take one packet; returns the samples that can be written now, in order."""
        if not 0 < len(packet.data) <= MAX_PACKET_BYTES:
            return []
        self.packets += 1
        self.payload_bytes += len(packet.data)
        if self._origin is None:
            if len(self._early) < MAX_WAITING:
                self._early.append(packet)
            return []
        return self._put(packet, now)

    def _put(self, packet: SoundPacket, now: float) -> list[Samples]:
        self._stream.put(packet)
        return self.take(now)

    def take(self, now: float) -> list[Samples]:
        """What can be written now; to be called often, for what is lost is given up in time."""
        blocks: list[Samples] = []
        while True:
            speech = self._stream.take()
            if speech is None and len(self._stream):
                if self._gap_since is None:
                    self._gap_since = now
                if now - self._gap_since >= _HOLD_S:
                    speech = self._stream.skip()
            if speech is None:
                break
            self._gap_since = None
            blocks += self._place(speech, now)
        if not len(self._stream):
            self._gap_since = None
        return blocks

    def finish(self, now: float) -> list[Samples]:
        """What was still waiting for a packet that never came."""
        blocks: list[Samples] = []
        while self._origin is not None and (speech := self._stream.skip()) is not None:
            blocks += self._place(speech, now)
        return blocks

    def _place(self, speech: Speech, now: float) -> list[Samples]:
        """`speech` as it follows on what was written: cut at its start, or after silence."""
        assert self._origin is not None
        end = self._origin + self._written
        at = unwrap(speech.at, end, _TIMESTAMP_MODULUS) - end
        quiet_s = 0.0 if self._wrote_at is None else now - self._wrote_at
        samples = speech.samples[max(-at, 0) :]
        # More than was waited for is no honest pause: do not fill a disk with silence.
        if at > (quiet_s + MAX_GAP_S) * SAMPLE_RATE_HZ or not len(samples):
            return []
        whole, rest = divmod(max(at, 0), len(_SILENCE))
        blocks = [*[_SILENCE] * whole, *([_SILENCE[:rest]] if rest else []), samples]
        self._written += sum(map(len, blocks))
        self._wrote_at = now
        return blocks
