"""A time code in the picture itself, to see how old a shown picture is.

The code is a strip of black and white cells along the lower edge: what a camera would see of a
clock beside the face. It crosses the whole call as pixels, through the LR stream and the network,
and no clock, time stamp or header can flatter what is read from it. Cells are a sixteenth of the
picture's side wide, four pixels of the smallest LR picture.

A number enters as its Gray code, so that from one frame to the next a single bit of it changes,
and is followed by a check (CRC-6, polynomial x^6 + x + 1, all bits inverted), so that each code has
cells of both colours and a smeared one is noticed.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemino.call.recorder import LogRow
from gemino.call.sources import Feed, Source
from gemino.call.stats import percentile
from gemino.call.tracks import Pictures, SourceFrame
from gemino.frames import Frame

NUMBERS = 1 << 10
"""Codes repeat after so many frames: half a minute at 30 a second."""
_NUMBER_BITS, _CHECK_BITS = 10, 6
_CELLS = _NUMBER_BITS + _CHECK_BITS
_POLYNOMIAL = 0b1000011
_INVERTED = 0b111111
_HEIGHT = 12
"""The strip takes one in so many lines of the picture."""
_BLACK, _WHITE = 16, 235
_LEAST_CONTRAST = 48
UNREADABLE = -1
_SAME_FRAME_S = 0.001
_LATEST_S = 1.0
"""A picture may show a frame that is so much older than its stream claims: one that was lost."""


def draw(frame: Frame, number: int) -> None:
    """Write `number` (modulo `NUMBERS`) over the lower edge of `frame` [S, S, 3], in place."""
    side = frame.shape[0]
    word = _word(number % NUMBERS)
    bits = (word >> np.arange(_CELLS - 1, -1, -1)) & 1
    line = np.where(bits[np.arange(side) * _CELLS // side], _WHITE, _BLACK).astype(np.uint8)
    frame[side - side // _HEIGHT :] = line[None, :, None]


def read(frame: Frame) -> int:
    """The number in `frame` [S, S, 3] uint8; `UNREADABLE` where there is none."""
    levels = _levels(frame)
    low, high = float(levels.min()), float(levels.max())
    if high - low < _LEAST_CONTRAST:
        return UNREADABLE
    word = 0
    for level in levels:
        word = word << 1 | int(level > (low + high) / 2)
    number = _binary(word >> _CHECK_BITS)
    return number if _word(number) == word else UNREADABLE


def _levels(frame: Frame) -> NDArray[np.float32]:
    """Mean level of the middle of each cell, [cells]; rims carry their neighbours' ringing."""
    side = frame.shape[0]
    cell, height = side / _CELLS, side // _HEIGHT
    top, bottom = side - round(0.7 * height), side - round(0.15 * height)
    inner = [
        frame[top:bottom, round((at + 0.3) * cell) : round((at + 0.7) * cell)].mean()
        for at in range(_CELLS)
    ]
    return np.array(inner, np.float32)


def _word(number: int) -> int:
    """The cells' bits, the leftmost as the highest."""
    gray = number ^ number >> 1
    return gray << _CHECK_BITS | _check(gray)


def _check(gray: int) -> int:
    rest = gray << _CHECK_BITS
    for at in range(_CELLS - 1, _CHECK_BITS - 1, -1):
        if rest >> at & 1:
            rest ^= _POLYNOMIAL << (at - _CHECK_BITS)
    return rest ^ _INVERTED


def _binary(gray: int) -> int:
    """The number with this Gray code."""
    number = gray
    while gray := gray >> 1:
        number ^= gray
    return number


@dataclass(frozen=True, slots=True)
class TimeCoded:
    """A source whose pictures carry their number as a time code."""

    source: Source

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        """As the source itself, with the code drawn over its pictures."""
        feed = self.source.open(size_px, kbps, seconds)
        return replace(feed, pictures=_CodedPictures(feed.pictures))


class _CodedPictures:
    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    @property
    def dropped(self) -> int:
        return self._pictures.dropped

    def peek(self) -> SourceFrame | None:
        return _coded(self._pictures.peek())

    def get(self) -> SourceFrame | None:
        return _coded(self._pictures.get())

    def ready(self) -> bool:
        return self._pictures.ready()

    def close(self) -> None:
        self._pictures.close()


def _coded(picture: SourceFrame | None) -> SourceFrame | None:
    if picture is None:
        return None
    frame = picture.frame.copy()  # the source may show it again
    draw(frame, picture.index)
    return replace(picture, frame=frame)


def tally(sent: list[LogRow], shown: list[LogRow]) -> dict[str, Any]:
    """What the codes say, as JSON values.

    sent: rows with `index` and `captured_s` of every frame. shown: rows with `code`, `captured_s`
    (of the frame that the stream claims to show), `shown_s` and `interpolated`.

    shown: pictures, but for those made from two others, whose code is neither's. read: those whose
    code names a frame that was sent. late: those of them that show an older frame than their time
    stamp claims. wrong: codes of other frames. unreadable: no code. ms: age of the frame that is
    seen when it is shown, p50, p95, p99, over what was read.
    """
    times = [row["captured_s"] for row in sent]
    ages: list[float] = []
    late = unreadable = 0
    shown = [row for row in shown if not row["interpolated"]]
    for row in shown:
        if row["code"] == UNREADABLE:
            unreadable += 1
            continue
        claimed = bisect_right(times, row["captured_s"] + _SAME_FRAME_S) - 1
        oldest = bisect_left(times, row["captured_s"] - _LATEST_S)
        candidates = range(claimed, oldest - 1, -1)
        seen = next((at for at in candidates if sent[at]["index"] % NUMBERS == row["code"]), None)
        if seen is not None:
            late += seen < claimed
            ages.append((row["shown_s"] - times[seen]) * 1000)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {name: percentile(ages, share) for name, share in shares.items()}
    return {
        "shown": len(shown),
        "read": len(ages),
        "late": late,
        "wrong": len(shown) - len(ages) - unreadable,
        "unreadable": unreadable,
        "ms": {name: None if ms is None else round(ms, 2) for name, ms in found.items()},
    }
