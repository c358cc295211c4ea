"""The `.gem` file: every byte that a call would have sent, with its times.

docs/container.md describes it byte by byte. A file is a header and records; each record has its
length before and a CRC-32 behind it, so a file that breaks off or was damaged is noticed at the
record where it happened, and everything before that is good.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, Final, get_args

from gemino.config import LrCodec, Rung
from gemino.errors import CodecError

MAGIC: Final = b"\x89GEM\r\n\x1a\n"
"""As in PNG: a non-ASCII byte and both line ends, so that a transfer as text is noticed."""
VERSION: Final = 1
MAX_PAYLOAD_BYTES: Final = 1 << 20
"""The largest LR picture or reference; honest ones are 30 times smaller."""

_CODECS: dict[int, LrCodec] = {1: "vp8", 2: "vp9", 3: "av1"}
_CODEC_NUMBERS = {codec: number for number, codec in _CODECS.items()}
_START = struct.Struct(">8sHHB II I 32s B")
_RECORD = struct.Struct(">BI")
_CRC = struct.Struct(">I")
_PICTURE = struct.Struct(">IQB")
_REFERENCE = struct.Struct(">I")
_RUNG = struct.Struct(">HI")
_END = struct.Struct(">IQQQ")
_PICTURE_TYPE, _REFERENCE_TYPE, _RUNG_TYPE, _END_TYPE = 1, 2, 3, 4
_OPTIONAL_TYPE = 128
"""Records from this type on may be skipped by a reader that does not know them."""
_MAX_RECORD_BYTES = MAX_PAYLOAD_BYTES + _PICTURE.size
_KEYFRAME_FLAG = 1
_MAX_INDEX = (1 << 32) - 1
_MAX_TIME_US = 10**12  # 11 days


@dataclass(frozen=True, slots=True)
class Header:
    """What a decoder needs before the first picture.

    output_px: side of the rebuilt picture, 256..1024. fps: nominal. frames: how many there are,
    None where the writer did not know. model, model_sha256: the model that the sender had in
    mind, a hint; "" and 32 zero bytes for none.
    """

    output_px: int
    fps: Fraction
    codec: LrCodec = "vp8"
    frames: int | None = None
    model: str = ""
    model_sha256: bytes = bytes(32)

    def __post_init__(self) -> None:
        if not 256 <= self.output_px <= 1024 or self.output_px % 8:
            raise ValueError(f"output_px must be a multiple of 8 in 256..1024: {self.output_px}")
        if not Fraction(1, 10) <= self.fps <= 240:
            raise ValueError(f"fps must be in 0.1..240: {self.fps}")
        if max(self.fps.numerator, self.fps.denominator) > _MAX_INDEX:
            raise ValueError(f"fps must be a fraction of two 32-bit numbers: {self.fps}")
        if self.codec not in get_args(LrCodec):
            raise ValueError(f"codec must be one of {get_args(LrCodec)}: {self.codec!r}")
        if self.frames is not None and not 0 < self.frames <= _MAX_INDEX:
            raise ValueError(f"frames must be in 1..2^32-1: {self.frames}")
        if len(self.model.encode()) > 64 or not self.model.isprintable():
            raise ValueError("model must be at most 64 printable bytes")
        if len(self.model_sha256) != 32:
            raise ValueError("model_sha256 must have 32 bytes")


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One LR picture: index counts from 0; time_us is when it was taken, from the first."""

    index: int
    time_us: int
    keyframe: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class ReferenceRecord:
    """One reference, sent with the picture `index`, whose record follows."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RungRecord:
    """How the pictures from here on are coded."""

    rung: Rung


@dataclass(frozen=True, slots=True)
class EndRecord:
    """Totals, to check against what was read. duration_us: all frames, the last one's included."""

    frames: int
    lr_bytes: int
    reference_bytes: int
    duration_us: int


Record = PictureRecord | ReferenceRecord | RungRecord | EndRecord


class GemWriter:
    """Writes a header and then records into an open binary file; counts as it goes.

    The caller closes the file. OSError comes through as it is.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self.container_bytes = 0
        self.frames = 0
        self.lr_bytes = 0
        self.reference_bytes = 0
        model = header.model.encode()
        start = _START.pack(
            MAGIC,
            VERSION,
            header.output_px,
            _CODEC_NUMBERS[header.codec],
            header.fps.numerator,
            header.fps.denominator,
            header.frames or 0,
            header.model_sha256,
            len(model),
        )
        self._put(start + model)

    def write_picture(self, time_us: int, keyframe: bool, data: bytes) -> None:
        """Append the next LR picture, taken `time_us` after the first."""
        flags = _KEYFRAME_FLAG if keyframe else 0
        self._record(_PICTURE_TYPE, _PICTURE.pack(self.frames, time_us, flags) + data)
        self.frames += 1
        self.lr_bytes += len(data)

    def write_reference(self, data: bytes) -> None:
        """Append a reference that goes along with the picture to be written next."""
        self._record(_REFERENCE_TYPE, _REFERENCE.pack(self.frames) + data)
        self.reference_bytes += len(data)

    def write_rung(self, rung: Rung) -> None:
        """Append how the pictures from here on are coded."""
        self._record(_RUNG_TYPE, _RUNG.pack(rung.size_px, round(rung.video_kbps * 1000)))

    def write_end(self, duration_us: int) -> None:
        """Append the totals; nothing may follow."""
        totals = (self.frames, self.lr_bytes, self.reference_bytes, duration_us)
        self._record(_END_TYPE, _END.pack(*totals))

    def _record(self, kind: int, body: bytes) -> None:
        if len(body) > _MAX_RECORD_BYTES:
            raise ValueError(f"a record of {len(body)} bytes is longer than {_MAX_RECORD_BYTES}")
        self._put(_RECORD.pack(kind, len(body)) + body)

    def _put(self, data: bytes) -> None:
        whole = data + _CRC.pack(zlib.crc32(data))
        self._file.write(whole)
        self.container_bytes += len(whole)


def read_header(file: BinaryIO) -> Header:
    """The header at the front of a `.gem` file. Raises CodecError where it is none."""
    start = file.read(_START.size)
    if start[: len(MAGIC)] != MAGIC[: len(start)] or not start:
        raise CodecError("this is no .gem file; make one with gemino encode")
    if len(start) < _START.size:
        raise CodecError("this .gem file breaks off in its header")
    _, version, output_px, codec, num, den, frames, sha256, length = _START.unpack(start)
    if version != VERSION:
        raise CodecError(f"this .gem file is of version {version}; a newer gemino may read it")
    model = _exactly(file, length, "the header")
    _check_crc(file, start + model, "the header")
    if codec not in _CODECS or not den:
        raise CodecError("this .gem file's header names an unknown codec or no frame rate")
    try:
        return Header(
            output_px=output_px,
            fps=Fraction(num, den),
            codec=_CODECS[codec],
            frames=frames or None,
            model=model.decode("utf-8"),
            model_sha256=sha256,
        )
    except ValueError as exc:
        raise CodecError(f"this .gem file's header is wrong: {exc}") from exc


def read_records(file: BinaryIO, codec: LrCodec = "vp8") -> Iterator[Record]:
    """Yield the records behind the header, the EndRecord last.

    codec: the header's. Raises CodecError after the last good record of a file that is damaged,
    breaks off, has no end, or goes on behind it.
    """
    frames = lr_bytes = reference_bytes = 0
    last_us = -1
    while True:
        where = f"the record behind picture {frames}"
        start = _exactly(file, _RECORD.size, where)
        kind, length = _RECORD.unpack(start)
        if length > _MAX_RECORD_BYTES:
            raise CodecError(f"this .gem file is damaged: {where} claims {length} bytes")
        body = _exactly(file, length, where)
        _check_crc(file, start + body, where)
        if kind >= _OPTIONAL_TYPE:
            continue
        try:
            record = _parse(kind, body, codec)
        except (struct.error, ValueError) as exc:
            raise CodecError(f"this .gem file is wrong in {where}: {exc}") from exc
        if isinstance(record, PictureRecord):
            if record.index != frames or record.time_us <= last_us:
                raise CodecError(f"this .gem file is wrong: pictures out of order at {frames}")
            frames, last_us = frames + 1, record.time_us
            lr_bytes += len(record.data)
        elif isinstance(record, ReferenceRecord):
            if record.index != frames:
                raise CodecError(f"this .gem file is wrong: a reference out of order at {frames}")
            reference_bytes += len(record.data)
        elif isinstance(record, EndRecord):
            totals = (record.frames, record.lr_bytes, record.reference_bytes)
            if totals != (frames, lr_bytes, reference_bytes):
                raise CodecError("this .gem file is wrong: its totals are not those of its records")
            if file.read(1):
                raise CodecError("this .gem file has something behind its end")
            yield record
            return
        yield record


def _parse(kind: int, body: bytes, codec: LrCodec) -> Record:
    if kind == _PICTURE_TYPE:
        index, time_us, flags = _PICTURE.unpack_from(body)
        data = _payload(body[_PICTURE.size :])
        if flags > _KEYFRAME_FLAG or time_us > _MAX_TIME_US:
            raise ValueError("a picture's flags or time are out of range")
        return PictureRecord(index, time_us, bool(flags), data)
    if kind == _REFERENCE_TYPE:
        (index,) = _REFERENCE.unpack_from(body)
        return ReferenceRecord(index, _payload(body[_REFERENCE.size :]))
    if kind == _RUNG_TYPE:
        size_px, bits = _RUNG.unpack(body)
        return RungRecord(Rung(codec, size_px, bits / 1000))
    if kind == _END_TYPE:
        return EndRecord(*_END.unpack(body))
    raise ValueError(f"type {kind} is unknown; a newer gemino may read it")


def _payload(data: bytes) -> bytes:
    if not 0 < len(data) <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(data)} bytes is not in 1..{MAX_PAYLOAD_BYTES}")
    return data


def _exactly(file: BinaryIO, size: int, where: str) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise CodecError(f"this .gem file breaks off in {where}")
    return data


def _check_crc(file: BinaryIO, data: bytes, where: str) -> None:
    (crc,) = _CRC.unpack(_exactly(file, _CRC.size, where))
    if crc != zlib.crc32(data):
        raise CodecError(f"this .gem file is damaged in {where}")
