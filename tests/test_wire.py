"""Data-channel messages: bytes = fields = repr = bytes, and nothing else gets through."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemino import wire
from gemino.errors import WireError
from gemino.fields import Bytes, Field, Flag, Integer, Many, Text

HASH = bytes(range(32))

# (bytes in hexadecimal, the message, its repr)
VECTORS: list[tuple[str, wire.Message, str]] = [
    (
        "01 01 02 03 767038 03 767039 02 0100 0200 01 " + HASH.hex() + " 00010000",
        wire.Hello(
            codecs=("vp8", "vp9"),
            output_sizes_px=(256, 512),
            models=(HASH,),
            max_reference_bytes=65536,
        ),
        (
            "Hello(version=1, codecs=['vp8', 'vp9'], output_sizes_px=[256, 512],"
            " models=[00010203..(32 bytes)], max_reference_bytes=65536)"
        ),
    ),
    (
        "01 01 01 03 767038 01 0010 00 00100000",
        wire.Hello(codecs=("vp8",), output_sizes_px=(16,)),
        (
            "Hello(version=1, codecs=['vp8'], output_sizes_px=[16], models=[],"
            " max_reference_bytes=1048576)"
        ),
    ),
    (
        "02 " + HASH.hex() + " 00002710",
        wire.ReferenceOffer(HASH, 10_000),
        "ReferenceOffer(sha256=00010203..(32 bytes), total_bytes=10000)",
    ),
    (
        "03 00010203 000004a7 ffee",
        wire.ReferenceChunk(HASH[:4], 1191, b"\xff\xee"),
        "ReferenceChunk(reference_id=00010203, offset=1191, data=ffee)",
    ),
    (
        "04 " + HASH.hex(),
        wire.ReferenceHave(HASH),
        "ReferenceHave(sha256=00010203..(32 bytes))",
    ),
    (
        "05 00010203 000004a9 01",
        wire.ReferenceAck(HASH[:4], 1193, complete=True),
        "ReferenceAck(reference_id=00010203, received_bytes=1193, complete=True)",
    ),
    (
        "0d " + HASH.hex() + HASH[::-1].hex() + " 00023668",
        wire.AdapterOffer(HASH, HASH[::-1], 145_000),
        (
            "AdapterOffer(sha256=00010203..(32 bytes), base_sha256=1f1e1d1c..(32 bytes),"
            " total_bytes=145000)"
        ),
    ),
    (
        "0e 000004a7 ffee",
        wire.AdapterChunk(1191, b"\xff\xee"),
        "AdapterChunk(offset=1191, data=ffee)",
    ),
    (
        "0f 000004a9 01",
        wire.AdapterAnswer(1193, wanted=True),
        "AdapterAnswer(received_bytes=1193, wanted=True)",
    ),
    ("06", wire.ReferenceWish(), "ReferenceWish()"),
    ("07", wire.KeyframeWish(), "KeyframeWish()"),
    (
        "08 000003e8 0000001e 0000001d 0000001c 00000002 000f 0001 0014 0050",
        wire.Stats(1000, 30, 29, 28, 2, 15, 1, 20, 80),
        (
            "Stats(elapsed_ms=1000, frames_decoded=30, frames_shown=29, frames_neural=28,"
            " packets_lost=2, received_kbps=15, decode_p95_ms=1, synthesize_p95_ms=20,"
            " latency_p95_ms=80)"
        ),
    ),
    (
        "09 fffffff0 00000007 0000000100000000",
        wire.CaptureTime(0xFFFFFFF0, 7, 1 << 32),
        "CaptureTime(rtp_timestamp=4294967280, frame_index=7, captured_us=4294967296)",
    ),
    (
        "0b fffffff0 0000000100000000",
        wire.SoundTime(0xFFFFFFF0, 1 << 32),
        "SoundTime(rtp_timestamp=4294967280, captured_us=4294967296)",
    ),
    (
        "0b 0000bb80 00000000000f4240",
        wire.SoundTime(48_000, 1_000_000),
        "SoundTime(rtp_timestamp=48000, captured_us=1000000)",
    ),
    (
        "0c 00 01",
        wire.MediaState(sends_picture=False, sends_sound=True),
        "MediaState(sends_picture=False, sends_sound=True)",
    ),
    ("0a 07 61752072c3a976", wire.Bye("au rév"), "Bye(reason='au rév')"),
]
NAMES = [type(message).__name__ for _, message, _ in VECTORS]


@pytest.mark.parametrize(("data", "message", "text"), VECTORS, ids=NAMES)
def test_bytes_are_fields_are_repr_are_bytes(data: str, message: wire.Message, text: str) -> None:
    parsed = wire.parse(bytes.fromhex(data))
    assert parsed == message
    assert type(parsed) is type(message)
    assert repr(parsed) == text
    assert parsed.serialize() == bytes.fromhex(data)


def test_there_is_a_vector_for_every_message() -> None:
    assert {type(message) for _, message, _ in VECTORS} == set(wire.MESSAGES)
    assert len({message.TYPE for message in wire.MESSAGES}) == len(wire.MESSAGES)


@pytest.mark.parametrize("message", [message for _, message, _ in VECTORS], ids=NAMES)
def test_every_truncation_and_trailing_junk_is_refused(message: wire.Message) -> None:
    whole = message.serialize()
    # A chunk's data runs to the message's end, so only its fixed part can be missed.
    shortest = {wire.ReferenceChunk: 10, wire.AdapterChunk: 6}.get(type(message), len(whole))
    for length in range(shortest):
        with pytest.raises(WireError):
            wire.parse(whole[:length])
    if not isinstance(message, wire.ReferenceChunk | wire.AdapterChunk):
        with pytest.raises(WireError, match="1 bytes too many"):
            wire.parse(whole + b"\0")


def mutated(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        match draw.randrange(4):
            case 0 if at < len(changed):
                changed[at] = draw.randrange(256)
            case 1 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 2:
                changed[at:at] = draw.randbytes(draw.choice((1, 2, 40, 1300)))
            case _:
                del changed[at : at + draw.randint(1, 8)]
    return bytes(changed)


def test_ten_thousand_mutations_raise_wire_error_or_parse_to_a_message_within_bounds() -> None:
    draw = random.Random(1)
    messages = [message.serialize() for _, message, _ in VECTORS]
    complaints = []
    for _ in range(10_000):
        data = mutated(draw.choice(messages), draw)
        try:
            message = wire.parse(data)
        except WireError as error:
            complaints.append(str(error))
        else:
            assert message.serialize() == data
            assert len(data) <= wire.MAX_MESSAGE_BYTES
    assert 3000 < len(complaints) < 9900  # both branches were walked
    assert all("\n" not in text and len(text) < 200 for text in complaints)


def values(field: Field) -> st.SearchStrategy[Any]:
    """What a field of this kind may hold."""
    match field:
        case Integer():
            return st.integers(field.low, field.high)
        case Flag():
            return st.booleans()
        case Bytes():
            return st.binary(min_size=field.low, max_size=field.high)
        case Text(pattern=None):
            return st.text(st.characters(categories=("L", "N")), max_size=field.high // 4)
        case Text():
            return st.from_regex(field.pattern or "", fullmatch=True)
        case Many():
            return st.lists(values(field.field), min_size=field.low, max_size=field.high).map(tuple)
    raise AssertionError(field)


def messages() -> st.SearchStrategy[wire.Message]:
    each: list[st.SearchStrategy[wire.Message]] = [
        st.builds(kind, **{name: values(field) for name, field in kind.FIELDS.items()})
        for kind in wire.MESSAGES
    ]
    return st.one_of(each)


@given(messages())
def test_any_message_within_bounds_comes_back(message: wire.Message) -> None:
    data = message.serialize()
    assert len(data) <= wire.MAX_MESSAGE_BYTES
    assert wire.parse(data) == message


@given(st.binary(max_size=64))
def test_any_bytes_raise_wire_error_or_come_back(data: bytes) -> None:
    try:
        message = wire.parse(data)
    except WireError:
        return
    assert message.serialize() == data


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "message has 0 bytes: must have 1..1200"),
        (b"\x03" + bytes(1200), "message has 1201 bytes: must have 1..1200"),
        ("hello", "message is text: must be bytes"),
        (b"\x00", "message type 0 is unknown"),
        (b"\x01\x02" + bytes(20), "Hello: version is 2: must be 1"),
        (b"\x01\x01\x00", "Hello: codecs has 0 entries: must have 1..8"),
        (b"\x01\x01\x01\x03VP8", "Hello: codecs is 'VP8': must match [a-z0-9]{1,8}"),
        (b"\x02" + HASH + bytes(4), "ReferenceOffer: total_bytes is 0: must be 1..1048576"),
        (b"\x02" + HASH + b"\xff" * 4, "ReferenceOffer: total_bytes is 4294967295: must be"),
        (b"\x03" + bytes(8), "ReferenceChunk: data has 0 bytes: must have 1..1191"),
        (b"\x05" + bytes(8) + b"\x02", "ReferenceAck: complete is 2: must be 0 or 1"),
        (b"\x06\x00", "ReferenceWish: 1 bytes too many at its end"),
        (b"\x0a\x02\x1b[", "Bye: reason must be printable text"),
        (b"\x0a\x01\xff", "Bye: reason is no UTF-8"),
        (b"\x0a\xc9" + b"a" * 201, "Bye: reason is too long: at most 200 bytes"),
    ],
)
def test_an_error_names_the_message_and_the_field(data: bytes | str, error: str) -> None:
    with pytest.raises(WireError) as raised:
        wire.parse(data)
    assert str(raised.value).startswith(error)


def test_a_wrong_message_cannot_be_built_here_either() -> None:
    with pytest.raises(ValueError, match=r"^ReferenceChunk: data has 1192 bytes"):
        wire.ReferenceChunk(HASH[:4], 0, bytes(1192))
    with pytest.raises(ValueError, match=r"^ReferenceAck: reference_id has 3 bytes: must have 4$"):
        wire.ReferenceAck(HASH[:3], 0)
    with pytest.raises(ValueError, match=r"^Bye: reason"):
        wire.Bye("\ud800")
    largest = wire.ReferenceChunk(HASH[:4], 0, bytes(wire.MAX_CHUNK_BYTES))
    assert len(largest.serialize()) == wire.MAX_MESSAGE_BYTES


def test_an_offer_names_its_chunks() -> None:
    assert wire.ReferenceOffer(HASH, 1).reference_id == HASH[:4]
