"""Carrying reference pictures over the data channel: chunks, pacing, acknowledgements.

Rules that always hold:

- References cross one after another, oldest first; a few wait, and of more the oldest are dropped.
  An offer supersedes whatever is under way in the same direction; chunks of a superseded reference
  are ignored, not errors.
- A reference is used only when every byte is here and its SHA-256 is the one offered.
- Chunks leave no faster than `pace_kbps`, and at most `WINDOW_BYTES` are unacknowledged, so a
  reference neither starves the LR stream nor piles up in the transport's buffer.
- Where acknowledgements come late, because what we send queues somewhere, the pace falls to an
  eighth at the least: what is spent on references must not hold up the stream.
- A receiver that holds the offered hash says so (`ReferenceHave`) and nothing is sent.
- The receiver's memory is bounded by `max_bytes` for what is under way and `GALLERY` references.

No socket and no clock: `now` (seconds, monotonic) is an argument.
"""

import hashlib
from collections import OrderedDict, deque
from typing import Protocol

from gemino.config import REFERENCES_HELD
from gemino.errors import WireError
from gemino.wire import (
    MAX_CHUNK_BYTES,
    Message,
    ReferenceAck,
    ReferenceChunk,
    ReferenceHave,
    ReferenceOffer,
)

WINDOW_BYTES = 16_384
_LACKING_S, _WISH_EVERY_S = 2.5, 10.0
_LATE_S, _QUEUED_S = 0.4, 0.15
"""An answer later than that, or so much later than the soonest one, is late."""
_LEAST_SHARE = 1 / 8
ACK_EVERY_BYTES = 4 * MAX_CHUNK_BYTES
GALLERY = REFERENCES_HELD
_MOST_WAITING = 2
_BURST_BYTES = 2 * MAX_CHUNK_BYTES


class _Ease:
    """Which share of the pace the network bears: less when answers are late, more when not."""

    def __init__(self) -> None:
        self.share = 1.0
        self._soonest_s = _LATE_S

    def answered(self, after_s: float) -> float:
        """Account for an acknowledgement, so long after what it answers had left.

        Returns how long to send nothing, for the queue to empty.
        """
        self._soonest_s = min(self._soonest_s, after_s)
        queued_s = after_s - self._soonest_s
        if after_s > _LATE_S or queued_s > _QUEUED_S:
            self.share = max(self.share / 4, _LEAST_SHARE)
            return queued_s
        self.share = min(self.share * 1.3, 1.0)
        return 0.0


class ReferenceSender:
    """Sends one reference at a time.

    pace_kbps: how fast chunks may leave; may be changed at any time.
    """

    def __init__(self, pace_kbps: float) -> None:
        self.pace_kbps = pace_kbps
        self.bytes_sent = 0
        self.acknowledged = 0
        self._offer: ReferenceOffer | None = None
        self._offered = False
        self._data = b""
        self._sent = 0
        self._acked = 0
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._allowance = float(_BURST_BYTES)
        self._ease = _Ease()
        self._left_at: dict[int, float] = {}  # where a chunk ends, and when it left
        self._resumes_at = 0.0
        self._last: float | None = None

    def __repr__(self) -> str:
        return f"ReferenceSender({self._acked} of {len(self._data)} bytes acknowledged)"

    @property
    def idle(self) -> bool:
        """Nothing is under way: everything offered has been acknowledged."""
        return self._offer is None

    def send(self, data: bytes) -> None:
        """Bring `data` across, after those that wait."""
        if self._offer is None:
            self._begin(data)
        else:
            self._waiting.append(data)

    def _begin(self, data: bytes) -> None:
        self._offer = ReferenceOffer(hashlib.sha256(data).digest(), len(data))
        self._offered = False
        self._data, self._sent, self._acked = data, 0, 0

    def messages(self, now: float) -> list[Message]:
        """What may leave now."""
        elapsed = 0.0 if self._last is None else now - self._last
        self._last = now
        earned = elapsed * self.pace_kbps * self._ease.share * 125
        burst = max(self._ease.share * _BURST_BYTES, MAX_CHUNK_BYTES)
        self._allowance = min(self._allowance + earned, burst)
        messages: list[Message] = []
        if self._offer is None:
            return messages
        if not self._offered:
            self._offered = True
            messages.append(self._offer)
        if now < self._resumes_at:
            self._allowance = 0.0
            return messages
        while self._sent < len(self._data) and self._sent - self._acked < WINDOW_BYTES:
            piece = self._data[self._sent : self._sent + MAX_CHUNK_BYTES]
            if len(piece) > self._allowance:
                break
            self._allowance -= len(piece)
            messages.append(ReferenceChunk(self._offer.reference_id, self._sent, piece))
            self._sent += len(piece)
            self._left_at[self._sent] = now
            self.bytes_sent += len(piece)
        return messages

    def receive(self, message: ReferenceHave | ReferenceAck) -> None:
        """Take the receiver's answer; answers about superseded references are ignored.

        Raises WireError for an acknowledgement of bytes that were never sent.
        """
        if self._offer is None:
            return
        if isinstance(message, ReferenceHave):
            if message.sha256 == self._offer.sha256:
                self._finish()
        elif message.reference_id == self._offer.reference_id:
            if message.received_bytes > self._sent:
                raise WireError(
                    f"ReferenceAck: received_bytes is {message.received_bytes}: "
                    f"only {self._sent} were sent"
                )
            left_at = self._left_at.pop(message.received_bytes, None)
            if left_at is not None and self._last is not None:
                self._resumes_at = self._last + self._ease.answered(self._last - left_at)
            self._acked = max(self._acked, message.received_bytes)
            if message.complete:
                self._finish()

    def _finish(self) -> None:
        self.acknowledged += 1
        self._offer, self._data, self._sent, self._acked = None, b"", 0, 0
        self._left_at.clear()
        if self._waiting:
            self._begin(self._waiting.popleft())


class Wish:
    """When to wish for a reference: the references held have long been none of this scene.

    The sender sees a cut as well, and its reference of the new scene is there within two seconds,
    as a rule; a wish is for when it is not.
    """

    def __init__(self) -> None:
        self._lacking_since: float | None = None
        self._wished_at: float | None = None

    def due(self, lacking: bool, now: float) -> bool:
        """Whether to say so now; to be asked often."""
        if not lacking:
            self._lacking_since = None
            return False
        if self._lacking_since is None:
            self._lacking_since = now
        rested = self._wished_at is None or now - self._wished_at >= _WISH_EVERY_S
        if not rested or now - self._lacking_since < _LACKING_S:
            return False
        self._wished_at = now
        return True


class Kept(Protocol):
    """What outlives the call, by hash; `put` raises nothing."""

    def get(self, sha256: bytes) -> bytes | None: ...
    def put(self, data: bytes) -> None: ...


class ReferenceReceiver:
    """Puts references together and keeps the last few, by hash; kept: those of former calls."""

    def __init__(self, max_bytes: int, kept: Kept | None = None) -> None:
        self.bytes_received = 0
        self._kept = kept
        self._max_bytes = max_bytes
        self._gallery: OrderedDict[bytes, bytes] = OrderedDict()
        self._offer: ReferenceOffer | None = None
        self._data = bytearray()
        self._have = bytearray()
        self._missing = 0
        self._unacked = 0
        self._ready: deque[bytes] = deque(maxlen=GALLERY)

    def __repr__(self) -> str:
        return f"ReferenceReceiver({self._missing} bytes missing, {len(self._gallery)} held)"

    def take(self) -> bytes | None:
        """The next complete reference, each once, in order."""
        return self._ready.popleft() if self._ready else None

    def receive(self, message: ReferenceOffer | ReferenceChunk) -> list[Message]:
        """Take an offer or a chunk and return what to answer.

        Raises WireError for a reference larger than we take, a chunk outside its reference, and a
        complete one whose hash is wrong; the reference under way is then given up.
        """
        if isinstance(message, ReferenceOffer):
            return self._receive_offer(message)
        return self._receive_chunk(message)

    def _receive_offer(self, offer: ReferenceOffer) -> list[Message]:
        self._drop()
        if offer.total_bytes > self._max_bytes:
            raise WireError(
                f"ReferenceOffer: total_bytes is {offer.total_bytes}: we take {self._max_bytes}"
            )
        held = self._gallery.get(offer.sha256)
        if held is None and self._kept is not None:
            held = self._kept.get(offer.sha256)
        if held is not None:
            self._hold(offer.sha256, held)
            return [ReferenceHave(offer.sha256)]
        self._offer = offer
        self._data, self._have = bytearray(offer.total_bytes), bytearray(offer.total_bytes)
        self._missing, self._unacked = offer.total_bytes, 0
        return []

    def _receive_chunk(self, chunk: ReferenceChunk) -> list[Message]:
        offer = self._offer
        if offer is None or chunk.reference_id != offer.reference_id:
            return []
        end = chunk.offset + len(chunk.data)
        if end > offer.total_bytes:
            self._drop()
            raise WireError(f"ReferenceChunk: ends at {end}: only {offer.total_bytes} were offered")
        new = len(chunk.data) - self._have.count(1, chunk.offset, end)
        self._data[chunk.offset : end] = chunk.data
        self._have[chunk.offset : end] = b"\x01" * len(chunk.data)
        self._missing -= new
        self._unacked += new
        self.bytes_received += len(chunk.data)
        if self._missing == 0:
            return self._complete(offer)
        if self._unacked >= ACK_EVERY_BYTES:
            self._unacked = 0
            return [ReferenceAck(offer.reference_id, self._have.find(0), False)]
        return []

    def _complete(self, offer: ReferenceOffer) -> list[Message]:
        data = bytes(self._data)
        self._drop()
        if hashlib.sha256(data).digest() != offer.sha256:
            raise WireError("ReferenceChunk: the bytes do not have the hash that was offered")
        if self._kept is not None:
            self._kept.put(data)
        self._hold(offer.sha256, data)
        return [ReferenceAck(offer.reference_id, len(data), True)]

    def _hold(self, sha256: bytes, data: bytes) -> None:
        self._gallery[sha256] = data
        self._gallery.move_to_end(sha256)
        if len(self._gallery) > GALLERY:
            self._gallery.popitem(last=False)
        self._ready.append(data)

    def _drop(self) -> None:
        self._offer, self._data, self._have, self._missing = None, bytearray(), bytearray(), 0
