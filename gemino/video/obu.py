"""OBUs, the pieces that AV1 pictures consist of (AV1 specification, section 5.3).

A coded picture is a *temporal unit*: a run of OBUs, each of which says its own size. Here an OBU
is its bytes without that size, as it travels in RTP. What is wrong raises ValueError.
"""

from collections.abc import Iterator

SEQUENCE_HEADER, TEMPORAL_DELIMITER, METADATA, TILE_LIST, PADDING = 1, 2, 5, 8, 15
DELIMITER = b"\x12\x00"
"""The temporal delimiter that a temporal unit begins with."""
_FORBIDDEN, _EXTENSION, _HAS_SIZE = 0x80, 0x04, 0x02
_KIND_SHIFT = 3
_MAX_LEB128_BYTES = 8


def build(kind: int, payload: bytes) -> bytes:
    """An OBU of this kind, without extension."""
    return bytes([kind << _KIND_SHIFT]) + payload


def payload(obu: bytes) -> bytes:
    """What stands behind the OBU's header."""
    return obu[_header_bytes(obu) :]


def kind(obu: bytes | bytearray) -> int:
    """Its obu_type."""
    return obu[0] >> _KIND_SHIFT & 15


def _header_bytes(obu: bytes) -> int:
    """How long the OBU's header is, its size field not included; ValueError for a wrong one."""
    if obu[0] & _FORBIDDEN:
        raise ValueError("OBU has its forbidden bit set")
    length = 2 if obu[0] & _EXTENSION else 1
    if len(obu) < length:
        raise ValueError("OBU breaks off in its header")
    return length


def split(temporal_unit: bytes) -> Iterator[bytes]:
    """The OBUs of a temporal unit, without their size fields."""
    at = 0
    while at < len(temporal_unit):
        header = _header_bytes(temporal_unit[at : at + 2])
        if not temporal_unit[at] & _HAS_SIZE:
            raise ValueError("OBU does not say its size")
        size, start = read_leb128(temporal_unit, at + header)
        if size > len(temporal_unit) - start:
            raise ValueError(f"OBU of {size} bytes breaks off")
        first = temporal_unit[at] & ~_HAS_SIZE
        rest = temporal_unit[at + 1 : at + header] + temporal_unit[start : start + size]
        yield bytes([first]) + rest
        at = start + size


def sized(obu: bytes) -> bytes:
    """An element as an OBU that says its size, whether the sender left that out or not."""
    header = _header_bytes(obu)
    start = header
    if obu[0] & _HAS_SIZE:
        size, start = read_leb128(obu, header)
        if size != len(obu) - start:
            raise ValueError(f"OBU says {size} bytes and has {len(obu) - start}")
    first = obu[0] | _HAS_SIZE
    return bytes([first]) + obu[1:header] + leb128(len(obu) - start) + obu[start:]


def leb128(value: int) -> bytes:
    """AV1 specification, section 4.10.5; the shortest form."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
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
