"""How an AV1 stream says where it looks closer.

A key frame's temporal unit carries a metadata OBU behind its sequence header (AV1 specification,
section 5.8): a private type, a magic, a version, and the fovea as three bytes. Pictures up to the
next key frame share it. A decoder that does not know it skips it, and shows a picture that bulges
in the middle: only peers that have agreed on it send one.
"""

from gemino.config import Fovea
from gemino.video import obu

_PRIVATE_TYPE = 31
"""metadata_type 6..31 is for private use."""
_MAGIC = b"gemino-fovea\x01"
_TRAILING_BITS = b"\x80"


def mark(temporal_unit: bytes, fovea: Fovea) -> bytes:
    """A key frame's `temporal_unit` with `fovea` stated. ValueError where there is no sequence
    header."""
    place = bytes([fovea.x, fovea.y, fovea.radius])
    stated = obu.build(obu.METADATA, obu.leb128(_PRIVATE_TYPE) + _MAGIC + place + _TRAILING_BITS)
    parts: list[bytes] = []
    for one in obu.split(temporal_unit):
        parts.append(one)
        if obu.kind(one) == obu.SEQUENCE_HEADER:
            parts.append(stated)
    if stated not in parts:
        raise ValueError("the picture has no sequence header, so it is no key frame")
    return b"".join(map(obu.sized, parts))


def read(temporal_unit: bytes) -> Fovea | None:
    """The fovea that a key frame's `temporal_unit` states; None where it states none.

    Raises ValueError for one that is damaged or out of bounds, and for what is no run of OBUs.
    """
    for one in obu.split(temporal_unit):
        if obu.kind(one) != obu.METADATA:
            continue
        kind, at = obu.read_leb128(obu.payload(one), 0)
        stated = obu.payload(one)[at:]
        if kind == _PRIVATE_TYPE and stated.startswith(_MAGIC):
            place = stated[len(_MAGIC) :]
            if len(place) != 3 + len(_TRAILING_BITS):
                raise ValueError(f"a fovea of {len(place)} bytes")
            return Fovea(*place[:3])
    return None
