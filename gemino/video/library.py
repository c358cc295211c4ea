"""What there is to know of a codec's library to open it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from gemino.config import Rung


@dataclass(frozen=True, slots=True)
class Library:
    """A codec as FFmpeg names it.

    encoder, decoder: FFmpeg's names. encoder_options: of an encoder for a rung. opening: a context
    to open an encoder in. fresh_keyframes: a key frame on demand comes from a fresh encoder.
    may_stall: an encoder was seen to stop for ever; it is given up and replaced.
    """

    encoder: str
    decoder: str
    encoder_options: Callable[[Rung], dict[str, str]]
    decoder_options: Mapping[str, str] = field(default_factory=dict)
    opening: Callable[[], AbstractContextManager[None]] = nullcontext
    fresh_keyframes: bool = False
    may_stall: bool = False
