"""From looks to takes: the stretches of a video that teach, each seen through one steady square.

A square that follows the face picture by picture would show a face that never moves before a wall
that does; in a call it is the other way round. So each take has one square, wide enough for all
the face does in it, and where the face leaves it another take begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gemino.errors import MediaError
from gemino.personal.looking import Flaw, Look, flaws

MARGIN = 2.7
"""The square's side over the face's: head, shoulders and some wall."""
MIN_TAKE_S = 1.0
MAX_TAKE_S = 16.0
MIN_SECONDS = 5.0
GOOD_SECONDS = 40.0
MAX_SECONDS = 180.0
"""More teaches little, and would take a gigabyte."""
VALIDATION_SHARE = 0.2
MIN_VALIDATION_S = 1.5
_GAP_S = 0.5
_ROOM = 0.8  # of the face's side: how far its centre may wander within a take
_STILL = 0.4  # mean change between looks below which nobody lives; people are over 1
_ABOVE = 0.08  # of the face's side: heads reach further up from the face than down


@dataclass(frozen=True, slots=True)
class Take:
    """A stretch of the video of that number. start_s, end_s: in its time. left, top, side: the
    square, pixels of its frames."""

    video: int
    start_s: float
    end_s: float
    left: int
    top: int
    side: int

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a video is used. dropped_s: seconds by reason, `Flaw`."""

    takes: list[Take]
    dropped_s: Mapping[Flaw, float]


def select(looks: list[Look], end_s: float, width: int, height: int, video: int = 0) -> Selection:
    """The takes of a video of so many pixels that ends at `end_s`; video: its number.

    Raises MediaError where it shows a picture of somebody rather than somebody.
    """
    reasons = flaws(looks)
    ends = [look.time_s for look in looks[1:]] + [end_s]
    dropped: dict[Flaw, float] = {}
    takes: list[Take] = []
    run: list[Look] = []

    def drop(why: Flaw, seconds: float) -> None:
        dropped[why] = dropped.get(why, 0.0) + seconds

    def close(until_s: float) -> None:
        if run and until_s - run[0].time_s >= MIN_TAKE_S:
            takes.append(_take(run, until_s, (width, height), video))
        elif run:
            drop("restless", until_s - run[0].time_s)
        run.clear()

    for look, reason, until_s in zip(looks, reasons, ends, strict=True):
        if reason is not None:
            close(look.time_s)
            drop(reason, until_s - look.time_s)
            continue
        if run and (look.time_s - run[0].time_s >= MAX_TAKE_S or not _fits([*run, look])):
            close(look.time_s)
        run.append(look)
    close(end_s)
    good = [look.change for look, reason in zip(looks, reasons, strict=True) if reason is None]
    if takes and len(good) > 2 and float(np.median(good[1:])) < _STILL:
        raise MediaError("shows a face that never moves, as a photo does; film yourself talking")
    return Selection(takes, dropped)


def _fits(run: list[Look]) -> bool:
    """Whether one square holds all that the face does."""
    places = np.array([(look.x, look.y) for look in run])
    side = float(np.median([look.side for look in run]))
    return bool((np.ptp(places, axis=0) <= _ROOM * side).all())


def _take(run: list[Look], end_s: float, frame_px: tuple[int, int], video: int) -> Take:
    places = np.array([(look.x, look.y) for look in run])
    face = float(np.median([look.side for look in run]))
    width, height = frame_px
    side = min(round(MARGIN * face), width, height)
    x, y = (places.min(axis=0) + places.max(axis=0)) / 2
    left = min(max(round(x - side / 2), 0), width - side)
    top = min(max(round(y - _ABOVE * face - side / 2), 0), height - side)
    return Take(video, run[0].time_s, end_s, left, top, side)


def limit(takes: list[Take], most_s: float) -> list[Take]:
    """The first takes that fill `most_s`."""
    kept: list[Take] = []
    for take in takes:
        room = most_s - sum(one.seconds for one in kept)
        if room < MIN_TAKE_S:
            break
        kept.append(replace(take, end_s=min(take.end_s, take.start_s + room)))
    return kept


def split(takes: list[Take]) -> tuple[list[Take], list[Take]]:
    """Takes to train on, and the last part of the video to judge by; half a second lies between.

    Raises MediaError where there is too little for both.
    """
    total = sum(take.seconds for take in takes)
    wanted = max(VALIDATION_SHARE * total, MIN_VALIDATION_S)
    learned, judged = list(takes), list[Take]()
    while learned and wanted > 0.05:
        last = learned.pop()
        if last.seconds >= wanted + MIN_TAKE_S + _GAP_S:
            middle = last.end_s - wanted
            learned.append(replace(last, end_s=middle - _GAP_S))
            last = replace(last, start_s=middle)
        judged.insert(0, last)
        wanted -= last.seconds
    if not learned:
        raise MediaError(
            f"only {total:.1f} s of one face, sharp and alone, are left; film a minute of talking"
        )
    return learned, judged
