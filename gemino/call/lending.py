"""Lending one's own adapter over the data channel, in bits that nothing else wants.

Rules that always hold:

- Nothing is sent without the owner's consent, which is given before a call (`gemino.cli.consent`),
  nor before the receiver has said that it wants it.
- References go first: pieces leave only while none is under way, and no faster than the share of
  the rate that is kept for references, so that with the LR stream the rate is never exceeded. An
  adapter takes minutes, and hurries nobody.
- Pieces come in order, so a receiver that was cut off goes on from where it was, in the next call
  as well if it has a gallery.
- A receiver takes one adapter a call, of bounded size, for the weights that it draws with. It is
  data, never executed: hash, header, names, shapes and values are checked before it is used
  (`gemino.adapters`, `gemino.nn.adapter`), and whose face is seen while it is
  (`gemino.runtime.guarded`).

No socket and no clock: `now` (seconds, monotonic) is an argument.
"""

import hashlib
import logging
from typing import Protocol

from gemino.adapters import AdapterFile, parse
from gemino.call.options import PeerOptions
from gemino.errors import MediaError, ModelError, WireError
from gemino.gallery import Gallery
from gemino.wire import MAX_CHUNK_BYTES, AdapterAnswer, AdapterChunk, AdapterOffer, Message
from gemino.zoo import find

logger = logging.getLogger(__name__)

ADAPTER, PART = "adapter", "part"
"""What a gallery calls adapters of others, and those of which some is missing."""
WINDOW_BYTES = 8 * MAX_CHUNK_BYTES
ANSWER_EVERY_BYTES = 4 * MAX_CHUNK_BYTES
_BURST_BYTES = 2 * MAX_CHUNK_BYTES
_HASH_BYTES = 32


class AdapterSender:
    """Lends `data`, an adapter that `parse` reads, once in a call.

    pace_kbps: what references may cost; may be changed at any time.
    """

    def __init__(self, data: bytes, pace_kbps: float) -> None:
        self.pace_kbps = pace_kbps
        self.bytes_sent = 0
        found = parse(data)
        self._offer = AdapterOffer(
            bytes.fromhex(found.sha256), bytes.fromhex(found.base_sha256), len(data)
        )
        self._data = data
        self._offered = self._wanted = False
        self._sent = self._answered = 0
        self._allowance = 0.0
        self._last: float | None = None

    def __repr__(self) -> str:
        return f"AdapterSender({self._answered} of {len(self._data)} bytes answered)"

    def messages(self, now: float, *, idle: bool) -> list[Message]:
        """What may leave now. idle: no reference is under way."""
        elapsed = 0.0 if self._last is None else now - self._last
        self._last = now
        if not idle:
            self._allowance = 0.0
            return []
        self._allowance = min(self._allowance + elapsed * self.pace_kbps * 125, _BURST_BYTES)
        if not self._offered:
            self._offered = True
            return [self._offer]
        messages: list[Message] = []
        while self._wanted and self._sent < len(self._data):
            piece = self._data[self._sent : self._sent + MAX_CHUNK_BYTES]
            if self._sent - self._answered >= WINDOW_BYTES or len(piece) > self._allowance:
                break
            self._allowance -= len(piece)
            messages.append(AdapterChunk(self._sent, piece))
            self._sent += len(piece)
            self.bytes_sent += len(piece)
        return messages

    def receive(self, answer: AdapterAnswer) -> None:
        """Take what the receiver wants; WireError where it answers to what was never sent."""
        first = self._offered and not self._wanted and not self._sent
        most = len(self._data) if first else self._sent
        if not self._offered or not self._answered <= answer.received_bytes <= most:
            raise WireError(
                f"AdapterAnswer: received_bytes is {answer.received_bytes}: {self._sent} were sent"
            )
        if first:
            self._sent = answer.received_bytes
        self._answered = answer.received_bytes
        self._wanted = answer.wanted


class Shelf(Protocol):
    """Where lent adapters outlive the call; nothing raises."""

    def get(self, sha256: bytes) -> bytes | None: ...
    def put(self, data: bytes) -> None: ...
    def part(self, sha256: bytes) -> bytes: ...
    def put_part(self, sha256: bytes, data: bytes) -> None: ...


class GalleryShelf(Shelf):
    """A shelf in an encrypted gallery. One that fails is worth a warning, no more."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def get(self, sha256: bytes) -> bytes | None:
        return self._gallery.get(ADAPTER, sha256)

    def put(self, data: bytes) -> None:
        self._keep(ADAPTER, data)

    def part(self, sha256: bytes) -> bytes:
        """What is there of the adapter with that hash; forgotten here, for `put_part` to renew."""
        found = b""
        for item in self._gallery.items():
            if item.kind != PART:
                continue
            data = self._gallery.get(PART, item.sha256) or b""
            if data[:_HASH_BYTES] == sha256:
                found = max(found, data[_HASH_BYTES:], key=len)
                self._gallery.forget(item)
        return found

    def put_part(self, sha256: bytes, data: bytes) -> None:
        self._keep(PART, sha256 + data)

    def _keep(self, kind: str, data: bytes) -> None:
        try:
            self._gallery.put(kind, data)
        except MediaError as error:
            logger.warning("an adapter that was lent is not kept: %s", error)


class AdapterReceiver:
    """Takes the adapter that the other peer lends, for the weights with that SHA-256 alone.

    shelf: keeps it for other calls; None: it is used in this call alone.
    """

    def __init__(self, base_sha256: str, shelf: Shelf | None = None) -> None:
        self.bytes_received = 0
        self._base_sha256 = base_sha256
        self._shelf = shelf
        self._offer: AdapterOffer | None = None
        self._data = bytearray()
        self._unanswered = 0
        self._taken = False
        self._ready: tuple[AdapterFile, bytes] | None = None

    def __repr__(self) -> str:
        of = 0 if self._offer is None else self._offer.total_bytes
        return f"AdapterReceiver({len(self._data)} of {of} bytes)"

    def take(self) -> tuple[AdapterFile, bytes] | None:
        """The adapter and its file, once, when all of it is here."""
        ready, self._ready = self._ready, None
        return ready

    def receive(self, message: AdapterOffer | AdapterChunk) -> list[Message]:
        """Take an offer or a piece and return what to answer.

        Raises WireError for a second offer, for a piece out of order, and for an adapter that is
        not the one offered or none at all; nothing of it is kept then.
        """
        if isinstance(message, AdapterOffer):
            return self._receive_offer(message)
        return self._receive_chunk(message)

    def keep(self, data: bytes) -> None:
        """Keep an adapter that has proved to fit the network."""
        if self._shelf is not None:
            self._shelf.put(data)

    def close(self) -> None:
        """Keep what is here of an adapter that has not come to its end."""
        if self._offer is not None and self._data and self._shelf is not None:
            self._shelf.put_part(self._offer.sha256, bytes(self._data))
        self._offer = None

    def _receive_offer(self, offer: AdapterOffer) -> list[Message]:
        if self._taken:
            raise WireError("AdapterOffer: comes twice: one adapter a call is taken")
        self._taken = True
        if offer.base_sha256.hex() != self._base_sha256:
            logger.info("an adapter is not taken: it is for another network than ours")
            return [AdapterAnswer(0, wanted=False)]
        held = None if self._shelf is None else self._shelf.get(offer.sha256)
        if held is not None and self._accept(held, offer):
            return [AdapterAnswer(offer.total_bytes, wanted=False)]
        self._offer = offer
        if self._shelf is not None:
            self._data += self._shelf.part(offer.sha256)[: offer.total_bytes - 1]
        return [AdapterAnswer(len(self._data), wanted=True)]

    def _receive_chunk(self, chunk: AdapterChunk) -> list[Message]:
        offer = self._offer
        if offer is None:
            return []
        at, end = len(self._data), chunk.offset + len(chunk.data)
        if chunk.offset != at or end > offer.total_bytes:
            self._give_up()
            raise WireError(f"AdapterChunk: offset is {chunk.offset}: {at} of its bytes are here")
        self._data += chunk.data
        self.bytes_received += len(chunk.data)
        self._unanswered += len(chunk.data)
        if end == offer.total_bytes:
            data = bytes(self._data)
            self._give_up()
            if not self._accept(data, offer):
                raise WireError("AdapterChunk: the bytes are not the adapter that was offered")
            return [AdapterAnswer(end, wanted=False)]
        if self._unanswered >= ANSWER_EVERY_BYTES:
            self._unanswered = 0
            return [AdapterAnswer(end, wanted=True)]
        return []

    def _accept(self, data: bytes, offer: AdapterOffer) -> bool:
        """Whether `data` is the adapter of `offer`, and one for our weights."""
        if hashlib.sha256(data).digest() != offer.sha256 or len(data) != offer.total_bytes:
            return False
        try:
            found = parse(data)
        except ModelError as error:
            logger.warning("what the other peer lends is no adapter: it %s", error)
            return False
        if found.base_sha256 != self._base_sha256:
            logger.warning("the adapter that the other peer lends is for another network than ours")
            return False
        self._ready = found, data
        return True

    def _give_up(self) -> None:
        self._offer, self._data = None, bytearray()


def borrower(options: PeerOptions) -> AdapterReceiver | None:
    """Takes an adapter of the other side, for our network as it is released; None without one."""
    media, gallery = options.media, options.gallery
    files = None if media.model is None else find(media.model)
    if files is None or files.adapter is not None or files.graphs is not None:
        return None
    return AdapterReceiver(files.sha256, None if gallery is None else GalleryShelf(gallery))
