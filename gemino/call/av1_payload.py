"""AV1 pictures as RTP payloads and back ("RTP Payload Format For AV1", version 1.0, AOM, 2022).

A picture is a *temporal unit*: a run of OBUs (AV1 specification, section 5.3), each of which says
its own size. On the network an OBU is an *element* without that size, and a payload is

    +-+-+-+-+-+-+-+-+----------------------+
    |Z|Y| W |N|-|-|-| elements
    +-+-+-+-+-+-+-+-+----------------------+

    Z  the first element goes on from the packet before   Y  the last one goes on in the next packet
    W  number of elements, 1..3; each but the last is preceded by its length as leb128
       0: any number, each preceded by its length
    N  the first packet of a coded video sequence: a sequence header is in this temporal unit

Temporal delimiters do not travel: a temporal unit ends with the RTP marker bit. Nothing numbers
the pictures either; that one is missing shows in the RTP sequence numbers alone.

No socket and no clock. What comes from a peer raises `WireError` and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gemino.errors import CodecError, WireError
from gemino.video import obu
from gemino.video.lr import MAX_PICTURE_BYTES

_CONTINUES, _CONTINUED, _NEW_SEQUENCE = 0x80, 0x40, 0x08
_COUNT_SHIFT, _MAX_COUNT = 4, 3
_NOT_SENT = (obu.TEMPORAL_DELIMITER, obu.TILE_LIST, obu.PADDING)
_IGNORED = (obu.TEMPORAL_DELIMITER, obu.TILE_LIST)
_LENGTH_BYTES = 2
"""Of an element that fits into a packet: below 2**14."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One parsed payload: its flags Z, Y and N, and its elements, whole OBUs or pieces."""

    continues: bool
    continued: bool
    new_sequence: bool
    elements: tuple[bytes, ...]


def packetize(temporal_unit: bytes, max_bytes: int) -> list[bytes]:
    """One coded picture, in OBUs that say their sizes, as payloads of at most `max_bytes` (>= 8).

    Raises CodecError where `temporal_unit` is no run of OBUs.
    """
    try:
        obus = [one for one in obu.split(temporal_unit) if obu.kind(one) not in _NOT_SENT]
    except ValueError as error:
        raise CodecError(f"the AV1 encoder gave what is no temporal unit: {error}") from None
    new_sequence = any(obu.kind(one) == obu.SEQUENCE_HEADER for one in obus)
    payloads: list[bytes] = []
    continues = False
    for elements, continued in _fill(obus, max_bytes - 1):
        flags = _CONTINUES * continues | _CONTINUED * continued
        if new_sequence and not payloads:
            flags |= _NEW_SEQUENCE
        payloads.append(_aggregate(flags, elements))
        continues = continued
    return payloads


def parse(payload: bytes) -> Payload:
    """The flags and elements of one RTP payload; raises WireError."""
    if len(payload) < 2:
        raise WireError(f"AV1 payload has {len(payload)} bytes: must have 2 or more")
    flags = payload[0]
    continues, new_sequence = bool(flags & _CONTINUES), bool(flags & _NEW_SEQUENCE)
    if continues and new_sequence:
        raise WireError("AV1 payload begins a sequence in the middle of an OBU")
    try:
        elements = tuple(_elements(payload, flags >> _COUNT_SHIFT & _MAX_COUNT))
    except ValueError as error:
        raise WireError(f"AV1 payload is wrong: {error}") from None
    return Payload(continues, bool(flags & _CONTINUED), new_sequence, elements)


def depacketize(payloads: Sequence[bytes]) -> bytes:
    """The temporal unit in all `payloads` of one picture, in order, as an encoder gives it.

    A temporal delimiter comes first and every OBU says its size. Raises WireError where the
    payloads do not fit together or hold no picture.
    """
    obus: list[bytearray] = []
    continued = False
    for payload in map(parse, payloads):
        if payload.continues != continued:
            raise WireError("AV1 payloads do not fit together: a piece of an OBU is missing")
        first, *others = payload.elements
        if continued:
            obus[-1] += first
        else:
            obus.append(bytearray(first))
        obus += map(bytearray, others)
        continued = payload.continued
    if continued:
        raise WireError("AV1 picture breaks off in the middle of an OBU")
    try:
        sized = [obu.sized(bytes(one)) for one in obus if obu.kind(one) not in _IGNORED]
    except ValueError as error:
        raise WireError(f"AV1 picture is wrong: {error}") from None
    if not sized:
        raise WireError("AV1 picture holds no OBU")
    picture = obu.DELIMITER + b"".join(sized)
    if len(picture) > MAX_PICTURE_BYTES:
        raise WireError(f"AV1 picture has {len(picture)} bytes: at most {MAX_PICTURE_BYTES}")
    return picture


def _fill(obus: list[bytes], room_bytes: int) -> Iterator[tuple[list[bytes], bool]]:
    """The elements of each packet, and whether the last one goes on in the next."""
    elements: list[bytes] = []
    room = room_bytes
    for whole in obus:
        at = 0
        while at < len(whole):
            if room <= _LENGTH_BYTES:
                yield elements, at > 0
                elements, room = [], room_bytes
            piece = whole[at : at + room - _LENGTH_BYTES]
            elements.append(piece)
            at += len(piece)
            room -= len(piece) + _LENGTH_BYTES
    if elements:
        yield elements, False


def _aggregate(flags: int, elements: list[bytes]) -> bytes:
    """The aggregation header and the elements with their lengths, but for a last one's."""
    count = len(elements) if len(elements) <= _MAX_COUNT else 0
    parts = [part for element in elements for part in (obu.leb128(len(element)), element)]
    if count:
        del parts[-2]
    return bytes([flags | count << _COUNT_SHIFT]) + b"".join(parts)


def _elements(payload: bytes, count: int) -> Iterator[bytes]:
    at, number = 1, 0
    while at < len(payload) if not count else number < count:
        number += 1
        size = len(payload) - at
        if number != count:
            size, at = obu.read_leb128(payload, at)
        if not 0 < size <= len(payload) - at:
            raise ValueError(f"element {number} of {size} bytes: {len(payload) - at} are left")
        yield payload[at : at + size]
        at += size
