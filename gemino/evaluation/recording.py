"""What a call showed, held against the clip that went in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.media import read_frames


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One shown frame [S, S, 3]: which source frame it shows, and whether a network made it."""

    source_index: int
    neural: bool
    frame: Frame


def read(movie: Path, log: Path) -> Iterator[Shown]:
    """The frames of a lossless recording with what its log says of each, in the order shown.

    Frames whose source could not be told are left out. Raises MediaError where the log is
    missing, damaged or of another length than the movie.
    """
    rows = _rows(log)
    count = 0
    for timed in read_frames(movie):
        if count == len(rows):
            raise MediaError(f"{log}: says nothing of frame {count} of {movie.name}")
        index, neural = rows[count]
        count += 1
        if index >= 0:
            yield Shown(index, neural, timed.frame)
    if count != len(rows):
        raise MediaError(f"{movie}: holds {count} frames, its log {len(rows)}")


def follow(shown: Iterator[Shown], count: int) -> Iterator[Shown | None]:
    """What the viewer saw at each of `count` source frames: the newest shown so far.

    None before the first frame is shown; a frame that stands still is repeated.
    """
    current: Shown | None = None
    waiting = next(shown, None)
    for place in range(count):
        while waiting is not None and waiting.source_index <= place:
            current, waiting = waiting, next(shown, None)
        yield current


def _rows(log: Path) -> list[tuple[int, bool]]:
    try:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [(int(line["source_index"]), bool(line["neural"])) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{log}: is no log of shown frames ({error})") from error
