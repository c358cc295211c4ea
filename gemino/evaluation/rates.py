"""Bits per second: counting them as everywhere in this project, and meeting a wanted rate."""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple, Protocol, TypeVar

from gemino.config import REFERENCE_AMORTISATION_S

PACKET_PAYLOAD_BYTES = 1200
PACKET_HEADER_BYTES = 50
"""IPv4 20, UDP 8, RTP 12 (RFC 3550), SRTP tag 10 (RFC 3711)."""

TOLERANCE = 0.05
"""A rate within 5 % of the one wanted is taken as the same."""
FLOOR = 1.1
"""A codec that spends a tenth more than asked for, after corrections, is at its floor."""
HOPELESS = 2.0
"""What spends this many times the rate asked for is at its coarsest quantiser already."""


class Rates(NamedTuple):
    """What a run of coded pictures costs.

    payload_kbps: the pictures. onwire_kbps: with 50 bytes of headers for each packet of at most
    1,200 bytes.
    """

    payload_kbps: float
    onwire_kbps: float


class Rated(Protocol):
    """A result that knows its rate."""

    @property
    def rates(self) -> Rates: ...


Result = TypeVar("Result", bound=Rated)


def packets(size: int) -> int:
    """How many packets carry `size` bytes."""
    return math.ceil(size / PACKET_PAYLOAD_BYTES)


def count(sizes: Iterable[int], fps: Fraction, references: Iterable[int] = ()) -> Rates:
    """The rates of pictures of `sizes` bytes at `fps`, and of `references` of so many bytes.

    The references are spread over a minute or the clip, whichever is longer.
    """
    pictures, stills = list(sizes), list(references)
    seconds = len(pictures) / float(fps)
    long_s = max(seconds, REFERENCE_AMORTISATION_S)
    payload = sum(pictures) / seconds + sum(stills) / long_s
    headers = sum(map(packets, pictures)) / seconds + sum(map(packets, stills)) / long_s
    return Rates(payload * 8 / 1000, (payload + PACKET_HEADER_BYTES * headers) * 8 / 1000)


def meet(
    kbps: float,
    code: Callable[[float], Result],
    lowest_kbps: float,
    highest_kbps: float,
    attempts: int,
) -> Result:
    """The result of `code(asked)` whose payload rate comes closest to `kbps`.

    Encoders miss the rate that they are asked for; what is asked is corrected, within
    lowest_kbps..highest_kbps, up to so many attempts in all.
    """
    asked = min(max(kbps, lowest_kbps), highest_kbps)
    best = result = code(asked)
    for _ in range(attempts - 1):
        before = asked
        asked *= kbps / result.rates.payload_kbps
        asked = min(max(asked, lowest_kbps), highest_kbps)
        off = best.rates.payload_kbps / kbps
        if abs(off - 1) <= TOLERANCE or off >= HOPELESS or asked == before:
            break
        result = code(asked)
        if abs(result.rates.payload_kbps - kbps) < abs(best.rates.payload_kbps - kbps):
            best = result
    return best
