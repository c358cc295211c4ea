"""Messages between two peers on the reliable, ordered data channel.

    +--------------+------------------------- - -
    | type, 1 byte | fields, in order, big endian
    +--------------+------------------------- - -

A data-channel message carries exactly one of these, at most 1,200 bytes, so that it travels in one
packet. `Hello` is the first in either direction and the only one that names the protocol's
version: a peer of another version is told so, because nothing behind that byte can be trusted.

Each message is a table of fields, and each kind of field knows its bounds, so that reading,
writing and checking cannot disagree. A message that breaks its bounds cannot exist: built here
from wrong values it raises `ValueError`, parsed from a peer's bytes `WireError`; both name the
message and the field. Parsing allocates no more than the bytes that arrived.
"""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from gemino.errors import WireError
from gemino.fields import Bytes, Flag, Integer, Many, Reader, Record, Text

VERSION = 1
MAX_MESSAGE_BYTES = 1200
MAX_REFERENCE_BYTES = 1 << 20
"""Far above any useful reference picture (5-40 kB): a bound, not a target."""
MAX_ADAPTER_BYTES = 500_000
"""Of a person's adapter, which is lent once and kept (`gemino.adapters`)."""
REFERENCE_ID_BYTES = 4
MAX_CHUNK_BYTES = MAX_MESSAGE_BYTES - 1 - REFERENCE_ID_BYTES - 4
MAX_REASON_BYTES = 200

_CODEC_NAME = re.compile(r"[a-z0-9]{1,8}")

_U16 = Annotated[int, Integer("H", 0, 0xFFFF)]
_U32 = Annotated[int, Integer("I", 0, 0xFFFFFFFF)]
_U64 = Annotated[int, Integer("Q", 0, 0xFFFFFFFFFFFFFFFF)]
_SHA256 = Annotated[bytes, Bytes(32, 32)]
_REFERENCE_ID = Annotated[bytes, Bytes(REFERENCE_ID_BYTES, REFERENCE_ID_BYTES)]
_REFERENCE_SIZE = Annotated[int, Integer("I", 1, MAX_REFERENCE_BYTES)]
_ADAPTER_SIZE = Annotated[int, Integer("I", 1, MAX_ADAPTER_BYTES)]


class Message(Record):
    """One data-channel message: a type byte, then its annotated fields in order."""

    __slots__ = ()
    TYPE: ClassVar[int]

    def serialize(self) -> bytes:
        """The whole message, type byte included; at most `MAX_MESSAGE_BYTES` long."""
        return bytes([self.TYPE]) + self.write()


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Hello(Message):
    """What a peer speaks and can do; the first message in either direction.

    codecs: LR codecs that it decodes, best first; names that the other does not know are for it to
    ignore. output_sizes_px: sides of the squares that it can rebuild. models: SHA-256 of the
    weights that it holds. max_reference_bytes: the largest reference that it takes.
    """

    TYPE: ClassVar[int] = 1

    version: Annotated[int, Integer("B", VERSION, VERSION)] = VERSION
    codecs: Annotated[tuple[str, ...], Many(Text(8, _CODEC_NAME), 1, 8)]
    output_sizes_px: Annotated[tuple[int, ...], Many(Integer("H", 16, 4096), 1, 8)]
    models: Annotated[tuple[bytes, ...], Many(Bytes(32, 32), 0, 16)] = ()
    max_reference_bytes: _REFERENCE_SIZE = MAX_REFERENCE_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class ReferenceOffer(Message):
    """A reference picture of `total_bytes` follows in chunks, unless the receiver holds it."""

    TYPE: ClassVar[int] = 2

    sha256: _SHA256
    total_bytes: _REFERENCE_SIZE

    @property
    def reference_id(self) -> bytes:
        """How chunks and acknowledgements name this reference: its hash's first 4 bytes."""
        return self.sha256[:REFERENCE_ID_BYTES]


@dataclass(frozen=True, slots=True, repr=False)
class ReferenceChunk(Message):
    """A piece of an offered reference, from byte `offset` on.

    Whether the piece ends within what was offered is for the receiver to check: this message alone
    does not say how long the reference is.
    """

    TYPE: ClassVar[int] = 3

    reference_id: _REFERENCE_ID
    offset: Annotated[int, Integer("I", 0, MAX_REFERENCE_BYTES - 1)]
    data: Annotated[bytes, Bytes(1, MAX_CHUNK_BYTES)]


@dataclass(frozen=True, slots=True, repr=False)
class ReferenceHave(Message):
    """The receiver already holds the offered reference: nothing need be sent."""

    TYPE: ClassVar[int] = 4

    sha256: _SHA256


@dataclass(frozen=True, slots=True, repr=False)
class ReferenceAck(Message):
    """How much of a reference has arrived without a gap, and whether it is whole and in use."""

    TYPE: ClassVar[int] = 5

    reference_id: _REFERENCE_ID
    received_bytes: Annotated[int, Integer("I", 0, MAX_REFERENCE_BYTES)]
    complete: Annotated[bool, Flag()] = False


@dataclass(frozen=True, slots=True, repr=False)
class ReferenceWish(Message):
    """The receiver's reference no longer fits what it sees: send a new one."""

    TYPE: ClassVar[int] = 6


@dataclass(frozen=True, slots=True, repr=False)
class KeyframeWish(Message):
    """The receiver cannot decode the LR stream until its next key frame."""

    TYPE: ClassVar[int] = 7


@dataclass(frozen=True, slots=True, repr=False)
class Stats(Message):
    """The receiver's report; counters run from the call's start, the rest since the last report.

    frames_neural: of those shown, the ones that the network rebuilt. received_kbps: LR payload.
    The times are 95th percentiles; latency runs from capture to shown and is 0 where the two
    clocks cannot be compared.
    """

    TYPE: ClassVar[int] = 8

    elapsed_ms: _U32
    frames_decoded: _U32
    frames_shown: _U32
    frames_neural: _U32
    packets_lost: _U32
    received_kbps: _U16
    decode_p95_ms: _U16
    synthesize_p95_ms: _U16
    latency_p95_ms: _U16


@dataclass(frozen=True, slots=True, repr=False)
class CaptureTime(Message):
    """The frame with this RTP timestamp is the clip's or camera's `frame_index`th, taken then.

    captured_us: on the sender's monotonic clock. It lets a receiver on the same machine measure
    capture-to-shown latency, and any receiver name the source frame of what it shows.
    """

    TYPE: ClassVar[int] = 9

    rtp_timestamp: _U32
    frame_index: _U32
    captured_us: _U64


@dataclass(frozen=True, slots=True, repr=False)
class SoundTime(Message):
    """The sample of sound with this RTP timestamp (48 kHz) was taken then.

    captured_us: on the clock of `CaptureTime`, so that sound and picture can be put together.
    """

    TYPE: ClassVar[int] = 11

    rtp_timestamp: _U32
    captured_us: _U64


@dataclass(frozen=True, slots=True, repr=False)
class MediaState(Message):
    """What its sender lets the other side see and hear from now on; both, as long as none came.

    sends_picture: False while its camera is off: the last picture stands. sends_sound: False while
    its microphone is. A peer that does not know this message drops it, and shows the same.
    """

    TYPE: ClassVar[int] = 12

    sends_picture: Annotated[bool, Flag()]
    sends_sound: Annotated[bool, Flag()]


@dataclass(frozen=True, slots=True, repr=False)
class AdapterOffer(Message):
    """The sender's own adapter, of `total_bytes`, may be lent to whoever draws them.

    base_sha256: of the weights that it changes. Nothing follows until the receiver wants it; a peer
    that does not know this message drops it, and gets nothing.
    """

    TYPE: ClassVar[int] = 13

    sha256: _SHA256
    base_sha256: _SHA256
    total_bytes: _ADAPTER_SIZE


@dataclass(frozen=True, slots=True, repr=False)
class AdapterChunk(Message):
    """The piece of the offered adapter that begins at byte `offset`; they come in order."""

    TYPE: ClassVar[int] = 14

    offset: Annotated[int, Integer("I", 0, MAX_ADAPTER_BYTES - 1)]
    data: Annotated[bytes, Bytes(1, MAX_CHUNK_BYTES)]


@dataclass(frozen=True, slots=True, repr=False)
class AdapterAnswer(Message):
    """What the receiver wants of the offered adapter: what follows `received_bytes`, or no more.

    wanted: False where it has all of it, or will have none.
    """

    TYPE: ClassVar[int] = 15

    received_bytes: Annotated[int, Integer("I", 0, MAX_ADAPTER_BYTES)]
    wanted: Annotated[bool, Flag()]


@dataclass(frozen=True, slots=True, repr=False)
class Bye(Message):
    """The sender of this leaves, for `reason`; nothing follows it."""

    TYPE: ClassVar[int] = 10

    reason: Annotated[str, Text(MAX_REASON_BYTES)] = ""


MESSAGES: tuple[type[Message], ...] = (
    Hello,
    ReferenceOffer,
    ReferenceChunk,
    ReferenceHave,
    ReferenceAck,
    ReferenceWish,
    KeyframeWish,
    Stats,
    CaptureTime,
    SoundTime,
    MediaState,
    AdapterOffer,
    AdapterChunk,
    AdapterAnswer,
    Bye,
)
_BY_TYPE = {message.TYPE: message for message in MESSAGES}


def parse(data: bytes | str) -> Message:
    """The message in `data`, as it came from a peer; raises `WireError` and nothing else.

    Text is refused as well: a data channel delivers either, and this protocol is binary.
    """
    if isinstance(data, str):
        raise WireError("message is text: must be bytes")
    if not 1 <= len(data) <= MAX_MESSAGE_BYTES:
        raise WireError(f"message has {len(data)} bytes: must have 1..{MAX_MESSAGE_BYTES}")
    kind = _BY_TYPE.get(data[0])
    if kind is None:
        raise WireError(f"message type {data[0]} is unknown")
    try:
        return kind.read(Reader(data[1:]))
    except ValueError as error:
        raise WireError(str(error)) from None
