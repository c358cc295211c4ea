"""`.gem` files: what is written is what is read, and no bytes raise anything but CodecError."""

import io
import random
import struct
import zlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemino.config import Rung
from gemino.container import (
    MAX_PAYLOAD_BYTES,
    EndRecord,
    GemWriter,
    Header,
    PictureRecord,
    Record,
    ReferenceRecord,
    RungRecord,
    read_header,
    read_records,
)
from gemino.errors import CodecError

HEADER = Header(512, Fraction(30000, 1001), "vp8", 3, "generic-s", bytes(range(32)))
RUNG = Rung("vp8", 128, 13.5)


def small_file() -> bytes:
    file = io.BytesIO()
    writer = GemWriter(file, HEADER)
    writer.write_rung(RUNG)
    writer.write_reference(b"reference")
    writer.write_picture(0, True, b"first")
    writer.write_picture(33_367, False, b"second")
    writer.write_picture(70_000, False, b"3")
    writer.write_end(103_367)
    assert writer.container_bytes == len(file.getvalue())
    return file.getvalue()


def read_all(data: bytes) -> tuple[Header, list[Record], str]:
    """Header, records, and the error that ended them or an empty string."""
    file = io.BytesIO(data)
    header = read_header(file)
    records: list[Record] = []
    try:
        for record in read_records(file, header.codec):
            records.append(record)  # noqa: PERF402  # what came before the error is kept
    except CodecError as error:
        return header, records, str(error)
    return header, records, ""


RECORDS: list[Record] = [
    RungRecord(RUNG),
    ReferenceRecord(0, b"reference"),
    PictureRecord(0, 0, True, b"first"),
    PictureRecord(1, 33_367, False, b"second"),
    PictureRecord(2, 70_000, False, b"3"),
    EndRecord(3, 12, 9, 103_367),
]


def record(kind: int, body: bytes) -> bytes:
    data = struct.pack(">BI", kind, len(body)) + body
    return data + struct.pack(">I", zlib.crc32(data))


def header_bytes() -> bytes:
    file = io.BytesIO()
    GemWriter(file, HEADER)
    return file.getvalue()


def test_what_is_written_is_read() -> None:
    assert read_all(small_file()) == (HEADER, RECORDS, "")


def test_a_file_lies_as_the_documentation_says() -> None:
    data = small_file()
    assert data[:8] == b"\x89GEM\r\n\x1a\n"
    assert data[8:25] == struct.pack(">HHBIII", 1, 512, 1, 30000, 1001, 3)
    assert data[25:57] == bytes(range(32))
    assert data[57:67] == b"\x09generic-s"
    assert data[67:71] == struct.pack(">I", zlib.crc32(data[:67]))
    rung = record(3, struct.pack(">HI", 128, 13_500))
    reference = record(2, struct.pack(">I", 0) + b"reference")
    first = record(1, struct.pack(">IQB", 0, 0, 1) + b"first")
    assert data[71:].startswith(rung + reference + first)
    assert data.endswith(record(4, struct.pack(">IQQQ", 3, 12, 9, 103_367)))


def test_every_truncation_gives_the_good_records_and_then_an_error() -> None:
    whole = small_file()
    for length in range(len(whole)):
        if length < len(header_bytes()):
            with pytest.raises(CodecError):
                read_header(io.BytesIO(whole[:length]))
        else:
            _, records, error = read_all(whole[:length])
            assert "breaks off" in error
            assert records == RECORDS[: len(records)]


def test_mutations_raise_codec_error_and_nothing_else() -> None:
    whole, rng, rejected = small_file(), random.Random(5), 0
    for _ in range(10_000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            _, records, error = read_all(bytes(data))
        except CodecError:
            rejected += 1
            continue
        rejected += bool(error)
        assert records == RECORDS[: len(records)]
    assert rejected > 9_800


@given(kind=st.integers(0, 255), body=st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_records_with_a_good_checksum_are_still_checked(kind: int, body: bytes) -> None:
    _, records, error = read_all(header_bytes() + record(kind, body))
    assert error
    assert all(isinstance(r, PictureRecord | ReferenceRecord | RungRecord) for r in records)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (record(9, b"x"), "type 9 is unknown"),
        (struct.pack(">BI", 1, MAX_PAYLOAD_BYTES + 14), "claims"),
        (record(1, struct.pack(">IQB", 1, 0, 1) + b"x"), "out of order"),
        (record(1, struct.pack(">IQB", 0, 0, 2) + b"x"), "flags"),
        (record(1, struct.pack(">IQB", 0, 0, 1)), "payload of 0 bytes"),
        (record(2, struct.pack(">I", 7) + b"x"), "out of order"),
        (record(3, struct.pack(">HI", 100, 9000)), "multiple of 16"),
        (record(4, struct.pack(">IQQQ", 1, 0, 0, 0)), "totals"),
        (record(4, struct.pack(">IQQQ", 0, 0, 0, 0)) + b"x", "behind its end"),
    ],
)
def test_a_wrong_record_is_named(data: bytes, says: str) -> None:
    assert says in read_all(header_bytes() + data)[2]


def test_records_of_later_versions_may_be_skipped() -> None:
    data = header_bytes() + record(200, b"anything") + record(4, struct.pack(">IQQQ", 0, 0, 0, 0))
    assert read_all(data)[1:] == ([EndRecord(0, 0, 0, 0)], "")


def test_other_files_and_other_versions_are_refused() -> None:
    for data in (b"", b"GEM", b"\x00\x00\x00\x18ftypisom" * 20, b"\x89GEM\n\x1a\n" + bytes(99)):
        with pytest.raises(CodecError, match=r"no \.gem file"):
            read_header(io.BytesIO(data))
    newer = small_file()[:9] + b"\x02" + small_file()[10:]
    with pytest.raises(CodecError, match="version 2"):
        read_header(io.BytesIO(newer))


@pytest.mark.parametrize(
    ("size", "fps", "model", "sha256"),
    [
        (100, Fraction(30), "", bytes(32)),
        (512, Fraction(1, 100), "", bytes(32)),
        (512, Fraction(30), "line\nbreak", bytes(32)),
        (512, Fraction(30), "m" * 65, bytes(32)),
        (512, Fraction(30), "", bytes(31)),
    ],
)
def test_a_header_out_of_bounds_cannot_be_made(
    size: int, fps: Fraction, model: str, sha256: bytes
) -> None:
    with pytest.raises(ValueError, match="must"):
        Header(size, fps, "vp8", None, model, sha256)
