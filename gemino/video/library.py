"""What there is to know of a codec's library to open it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gemino.config import Rung


@dataclass(frozen=True, slots=True)
class Library:
    """A codec as FFmpeg names it.

    encoder, decoder: FFmpeg's names. encoder_options: of an encoder for a rung.
    """

    encoder: str
    decoder: str
    encoder_options: Callable[[Rung], dict[str, str]]
    decoder_options: Mapping[str, str] = field(default_factory=dict)
