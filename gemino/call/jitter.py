"""From RTP packets back to coded pictures, in order, without waiting longer than is of use.

The rules:

- A picture is complete when its packets run without a gap from the start flag to the marker bit;
  it leaves at once, not when the next picture's packet comes.
- VP8 numbers its pictures. AV1 does not, and marks where an OBU begins rather than a picture; there
  a gap in the sequence numbers that was not filled is at least one lost picture, and a packet after
  a gap may be a picture's first.
- Everything complete leaves together: a backlog drains in one go.
- A gap is asked for again (NACK) when it is noticed and then every `retry_s`, because a request or
  its answer may be lost too. After `give_up_s` the gap and what it has spoilt are dropped; the next
  picture's number then tells the decoder that something is missing.
- What is kept is bounded: a jump of more than `CAPACITY` packets starts afresh.

No socket and no clock: `now` (seconds, monotonic) is an argument.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from gemino.call.av1_payload import depacketize
from gemino.config import LrCodec
from gemino.errors import WireError

logger = logging.getLogger(__name__)

CAPACITY = 512
MAX_NACKS = 64
_SEQUENCE_MODULUS = 1 << 16
_PICTURE_ID_MODULUS = 1 << 15


def unwrap(value: int, last: int, modulus: int) -> int:
    """The integer congruent to `value` modulo `modulus` that is nearest to `last`."""
    distance = (value - last) % modulus
    if distance >= modulus // 2:
        distance -= modulus
    return last + distance


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet of the LR stream.

    sequence, timestamp: as in the RTP header. marker: last of its picture. start: may be the first
    of its picture; only VP8 is sure. picture_id: 15 bits, or None where there is none. data: of VP8
    what follows the payload descriptor (RFC 7741, section 4.2), of AV1 the whole payload.
    """

    sequence: int
    timestamp: int
    marker: bool
    start: bool
    picture_id: int | None
    data: bytes
    codec: LrCodec = "vp8"


@dataclass(frozen=True, slots=True)
class Picture:
    """One coded picture; `index` counts pictures as the sender does, so that gaps show."""

    index: int
    timestamp: int
    data: bytes
    arrived_at: float
    codec: LrCodec = "vp8"


def _join(run: Sequence[Packet]) -> bytes:
    """The coded picture in all of its packets; raises WireError."""
    if run[0].codec == "av1":
        return depacketize([packet.data for packet in run])
    return b"".join(packet.data for packet in run)


@dataclass(slots=True)
class _Gap:
    noticed_at: float
    asked_at: float | None = None


class PictureBuffer:
    """Puts packets in order and gives out complete pictures."""

    def __init__(self, give_up_s: float = 0.3, retry_s: float = 0.06) -> None:
        self.packets_received = 0
        self.packets_lost = 0
        self.pictures_dropped = 0
        self._give_up_s = give_up_s
        self._retry_s = retry_s
        self._packets: dict[int, Packet] = {}
        self._gaps: dict[int, _Gap] = {}
        self._next: int | None = None
        self._highest = 0
        self._released = False
        self._index = -1

    def __repr__(self) -> str:
        return f"PictureBuffer({len(self._packets)} packets, {len(self._gaps)} missing)"

    def add(self, packet: Packet, now: float) -> None:
        """Take one packet; duplicates and packets that come too late are dropped."""
        self.packets_received += 1
        if self._next is None:
            self._next = self._highest = packet.sequence
        sequence = unwrap(packet.sequence, self._highest, _SEQUENCE_MODULUS)
        if abs(sequence - self._next) >= CAPACITY:
            self._restart(packet, sequence)
        if sequence < self._next:
            if self._released:
                return
            self._next = sequence  # the stream's first two packets came in the wrong order
        self._packets.setdefault(sequence, packet)
        self._gaps.pop(sequence, None)
        for missing in range(max(self._highest + 1, self._next), sequence):
            self._gaps[missing] = _Gap(now)
        self._highest = max(self._highest, sequence)

    def take(self, now: float) -> list[Picture]:
        """Every picture that is complete by now, in order."""
        pictures: list[Picture] = []
        while self._packets:
            run = self._next_run()
            if run and not run[0].start and not self._released and len(run) == len(self._packets):
                break  # the very first packets: their picture's head may still come
            if run:
                pictures += self._release(run, now)
            elif not self._skip_gap(now):
                break
        return pictures

    def nacks(self, now: float) -> list[int]:
        """Sequence numbers to ask for now, at most `MAX_NACKS`."""
        due = [
            sequence
            for sequence, gap in sorted(self._gaps.items())
            if gap.asked_at is None or now - gap.asked_at >= self._retry_s
        ][:MAX_NACKS]
        for sequence in due:
            self._gaps[sequence].asked_at = now
        return [sequence % _SEQUENCE_MODULUS for sequence in due]

    def _next_run(self) -> list[Packet]:
        """The packets from the next one to the end of its picture, if all are here."""
        assert self._next is not None
        run: list[Packet] = []
        while (packet := self._packets.get(self._next + len(run))) is not None:
            if run and packet.timestamp != run[0].timestamp:
                return run  # an encoder that forgot the marker
            run.append(packet)
            if packet.marker:
                return run
        return []

    def _release(self, run: list[Packet], now: float) -> list[Picture]:
        assert self._next is not None
        for sequence in range(self._next, self._next + len(run)):
            del self._packets[sequence]
        self._next += len(run)
        self._released = True
        first = run[0]
        try:
            data = _join(run) if first.start else b""
        except WireError as error:
            logger.debug("dropped a picture: %s", error)
            data = b""
        if not data:  # also the tail of a picture whose head was given up
            self._drop(first)
            return []
        self._index = self._number(first.picture_id)
        return [Picture(self._index, first.timestamp, data, now, first.codec)]

    def _drop(self, next_one: Packet) -> None:
        """A picture is lost. Senders that give no numbers leave it to us to make that visible."""
        self.pictures_dropped += 1
        if self._index >= 0 and next_one.picture_id is None:
            self._index += 1

    def _number(self, picture_id: int | None) -> int:
        if picture_id is None:
            return self._index + 1
        if self._index < 0:
            return picture_id
        return unwrap(picture_id, self._index, _PICTURE_ID_MODULUS)

    def _skip_gap(self, now: float) -> bool:
        """Give up a gap that is too old: go on at the next start of a picture, if there is one."""
        assert self._next is not None
        oldest = min(self._gaps, default=None)
        if oldest is None or now - self._gaps[oldest].noticed_at < self._give_up_s:
            return False
        starts = (s for s in self._packets if s > oldest and self._may_start(s))
        target = min(starts, default=None)
        if target is None:
            return False
        for sequence in range(self._next, target):
            self.packets_lost += self._gaps.pop(sequence, None) is not None
            self._packets.pop(sequence, None)
        self._next = target
        self._released = True
        self._drop(self._packets[target])
        return True

    def _may_start(self, sequence: int) -> bool:
        packet, before = self._packets[sequence], self._packets.get(sequence - 1)
        inside = before is not None and not before.marker and before.timestamp == packet.timestamp
        return packet.start and not inside

    def _restart(self, packet: Packet, sequence: int) -> None:
        self._drop(packet)
        self.packets_lost += len(self._gaps)
        self._packets.clear()
        self._gaps.clear()
        self._next = self._highest = sequence
