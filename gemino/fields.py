"""How values lie in a binary message: bounded, big endian, read without trust.

Each kind of field reads, writes and checks, so that the three cannot disagree. `read` and `check`
raise `ValueError` with the rest of a sentence ("is cut off"), for the message to put its own and
the field's name before; `write` trusts what `check` has passed. A `Record` is a table of them.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, Self, get_origin, get_type_hints


class Reader:
    """The bytes of one message, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError("is cut off")
        self._at += size
        return self._data[self._at - size : self._at]


class Field(Protocol):
    """One kind of field."""

    def check(self, value: Any) -> None: ...
    def read(self, reader: Reader) -> Any: ...
    def write(self, value: Any) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Integer:
    """Unsigned, `layout` B, H, I or Q (1, 2, 4, 8 bytes), in low..high."""

    layout: str
    low: int
    high: int

    def check(self, value: int) -> None:
        if not self.low <= value <= self.high:
            raise ValueError(f"is {value}: must be {_range(self.low, self.high)}")

    def read(self, reader: Reader) -> int:
        (value,) = struct.unpack(f"!{self.layout}", reader.take(struct.calcsize(self.layout)))
        return int(value)

    def write(self, value: int) -> bytes:
        return struct.pack(f"!{self.layout}", value)


@dataclass(frozen=True, slots=True)
class Flag:
    """One byte, 0 or 1: any other would not come back as the same bytes."""

    def check(self, value: bool) -> None:
        if value not in (False, True):
            raise ValueError("must be true or false")

    def read(self, reader: Reader) -> bool:
        value = reader.take(1)[0]
        if value > 1:
            raise ValueError(f"is {value}: must be 0 or 1")
        return bool(value)

    def write(self, value: bool) -> bytes:
        return bytes([value])


@dataclass(frozen=True, slots=True)
class Bytes:
    """low..high bytes: exactly that many where the two are one, else up to the message's end."""

    low: int
    high: int

    def check(self, value: bytes) -> None:
        if not self.low <= len(value) <= self.high:
            raise ValueError(f"has {len(value)} bytes: must have {_range(self.low, self.high)}")

    def read(self, reader: Reader) -> bytes:
        return reader.take(self.low if self.low == self.high else reader.left)

    def write(self, value: bytes) -> bytes:
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A length byte and that many bytes of UTF-8, printable: it ends up on somebody's terminal."""

    high: int
    pattern: re.Pattern[str] | None = None

    def check(self, value: str) -> None:
        if len(value.encode("utf-8", "replace")) > self.high:
            raise ValueError(f"is too long: at most {self.high} bytes are allowed")
        if not value.isprintable():
            raise ValueError("must be printable text")
        if self.pattern is not None and not self.pattern.fullmatch(value):
            raise ValueError(f"is {value!r}: must match {self.pattern.pattern}")

    def read(self, reader: Reader) -> str:
        data = reader.take(reader.take(1)[0])
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("is no UTF-8") from None

    def write(self, value: str) -> bytes:
        data = value.encode("utf-8")
        return bytes([len(data)]) + data


@dataclass(frozen=True, slots=True)
class Many:
    """A count byte and low..high values of one kind; a tuple."""

    field: Field
    low: int
    high: int

    def check(self, value: tuple[Any, ...]) -> None:
        if not self.low <= len(value) <= self.high:
            raise ValueError(f"has {len(value)} entries: must have {self.low}..{self.high}")
        for one in value:
            self.field.check(one)

    def read(self, reader: Reader) -> tuple[Any, ...]:
        return tuple(self.field.read(reader) for _ in range(reader.take(1)[0]))

    def write(self, value: tuple[Any, ...]) -> bytes:
        return bytes([len(value)]) + b"".join(self.field.write(one) for one in value)


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}..{high}"


class Record:
    """Annotated fields in order, `Annotated[T, Field]`; for dataclasses to be made of.

    One that breaks the bounds of a field cannot exist: `ValueError`, naming record and field.
    """

    __slots__ = ()
    FIELDS: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True).items()
        cls.FIELDS = {n: hint.__metadata__[0] for n, hint in hints if get_origin(hint) is Annotated}

    def __post_init__(self) -> None:
        for name, field in self.FIELDS.items():
            with _naming(type(self), name):
                field.check(getattr(self, name))

    def __repr__(self) -> str:
        fields = (f"{name}={_brief(getattr(self, name))}" for name in self.FIELDS)
        return f"{type(self).__name__}({', '.join(fields)})"

    def write(self) -> bytes:
        """All fields in order."""
        return b"".join(field.write(getattr(self, name)) for name, field in self.FIELDS.items())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """What `reader` holds, to its end; `ValueError` on wrong bytes."""
        values: dict[str, Any] = {}
        for name, field in cls.FIELDS.items():
            with _naming(cls, name):
                values[name] = field.read(reader)
                field.check(values[name])  # at once: another version ends at its first field
        if reader.left:
            raise ValueError(f"{cls.__name__}: {reader.left} bytes too many at its end")
        return cls(**values)


@contextmanager
def _naming(record: type[Record], name: str) -> Iterator[None]:
    """Puts the record's and the field's name before what is wrong with a value."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{record.__name__}: {name} {error}") from None


def _brief(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_brief(one) for one in value)}]"
    if not isinstance(value, bytes):
        return repr(value)
    return value.hex() if len(value) <= 8 else f"{value[:4].hex()}..({len(value)} bytes)"
