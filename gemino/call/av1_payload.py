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
from gemino.video.lr import MAX_PICTURE_BYTES

_CONTINUES, _CONTINUED, _NEW_SEQUENCE = 0x80, 0x40, 0x08
_COUNT_SHIFT, _MAX_COUNT = 4, 3
_FORBIDDEN, _EXTENSION, _HAS_SIZE = 0x80, 0x04, 0x02
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _TILE_LIST, _PADDING = 1, 2, 8, 15
_NOT_SENT = (_TEMPORAL_DELIMITER, _TILE_LIST, _PADDING)
_IGNORED = (_TEMPORAL_DELIMITER, _TILE_LIST)
_DELIMITER = b"\x12\x00"
_MAX_LEB128_BYTES = 8
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
        obus = [obu for obu in _split(temporal_unit) if _type(obu) not in _NOT_SENT]
    except ValueError as error:
        raise CodecError(f"the AV1 encoder gave what is no temporal unit: {error}") from None
    new_sequence = any(_type(obu) == _SEQUENCE_HEADER for obu in obus)
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
        sized = [_with_size(bytes(obu)) for obu in obus if _type(obu) not in _IGNORED]
    except ValueError as error:
        raise WireError(f"AV1 picture is wrong: {error}") from None
    if not sized:
        raise WireError("AV1 picture holds no OBU")
    picture = _DELIMITER + b"".join(sized)
    if len(picture) > MAX_PICTURE_BYTES:
        raise WireError(f"AV1 picture has {len(picture)} bytes: at most {MAX_PICTURE_BYTES}")
    return picture


def _type(obu: bytes | bytearray) -> int:
    return obu[0] >> 3 & 15


def _header_bytes(obu: bytes) -> int:
    """How long the OBU's header is, its size field not included; ValueError for a wrong one."""
    if obu[0] & _FORBIDDEN:
        raise ValueError("OBU has its forbidden bit set")
    length = 2 if obu[0] & _EXTENSION else 1
    if len(obu) < length:
        raise ValueError("OBU breaks off in its header")
    return length


def _split(temporal_unit: bytes) -> Iterator[bytes]:
    """The OBUs of a temporal unit, without their size fields."""
    at = 0
    while at < len(temporal_unit):
        header = _header_bytes(temporal_unit[at : at + 2])
        if not temporal_unit[at] & _HAS_SIZE:
            raise ValueError("OBU does not say its size")
        size, start = _read_leb128(temporal_unit, at + header)
        if size > len(temporal_unit) - start:
            raise ValueError(f"OBU of {size} bytes breaks off")
        first = temporal_unit[at] & ~_HAS_SIZE
        rest = temporal_unit[at + 1 : at + header] + temporal_unit[start : start + size]
        yield bytes([first]) + rest
        at = start + size


def _with_size(obu: bytes) -> bytes:
    """An element as an OBU that says its size, whether the sender left that out or not."""
    header = _header_bytes(obu)
    start = header
    if obu[0] & _HAS_SIZE:
        size, start = _read_leb128(obu, header)
        if size != len(obu) - start:
            raise ValueError(f"OBU says {size} bytes and has {len(obu) - start}")
    first = obu[0] | _HAS_SIZE
    return bytes([first]) + obu[1:header] + _leb128(len(obu) - start) + obu[start:]


def _fill(obus: list[bytes], room_bytes: int) -> Iterator[tuple[list[bytes], bool]]:
    """The elements of each packet, and whether the last one goes on in the next."""
    elements: list[bytes] = []
    room = room_bytes
    for obu in obus:
        at = 0
        while at < len(obu):
            if room <= _LENGTH_BYTES:
                yield elements, at > 0
                elements, room = [], room_bytes
            piece = obu[at : at + room - _LENGTH_BYTES]
            elements.append(piece)
            at += len(piece)
            room -= len(piece) + _LENGTH_BYTES
    if elements:
        yield elements, False


def _aggregate(flags: int, elements: list[bytes]) -> bytes:
    """The aggregation header and the elements with their lengths, but for a last one's."""
    count = len(elements) if len(elements) <= _MAX_COUNT else 0
    parts = [part for element in elements for part in (_leb128(len(element)), element)]
    if count:
        del parts[-2]
    return bytes([flags | count << _COUNT_SHIFT]) + b"".join(parts)


def _elements(payload: bytes, count: int) -> Iterator[bytes]:
    at, number = 1, 0
    while at < len(payload) if not count else number < count:
        number += 1
        size = len(payload) - at
        if number != count:
            size, at = _read_leb128(payload, at)
        if not 0 < size <= len(payload) - at:
            raise ValueError(f"element {number} of {size} bytes: {len(payload) - at} are left")
        yield payload[at : at + size]
        at += size


def _leb128(value: int) -> bytes:
    """AV1 specification, section 4.10.5; the shortest form."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The value that begins at `at`, and where what follows it begins."""
    value = 0
    for number in range(_MAX_LEB128_BYTES):
        if at + number >= len(data):
            raise ValueError("a length breaks off")
        byte = data[at + number]
        value |= (byte & 0x7F) << 7 * number
        if not byte & 0x80:
            return value, at + number + 1
    raise ValueError("a length has more than 8 bytes")
