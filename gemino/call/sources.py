"""Where a peer's pictures and sound come from: a clip, a clip in a loop, a test pattern.

A `Source` says what to send; `open` makes a `Feed` of it, for one call. The clip and the pattern
know what comes next and when, so a thread prepares it ahead (`Schedule`); a camera (`camera`) does
not. A source without an end is sent until somebody ends the call.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np

from gemino.call.audio import BLOCK_SAMPLES
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.call.pattern import PATTERN_FPS, draw_pattern
from gemino.call.readahead import ReadAhead
from gemino.call.tracks import MAX_LATE_S, MediaClock, Pictures, Sound, SourceFrame
from gemino.config import frame_step
from gemino.frames import prepare
from gemino.media import TimedFrame, length_s, probe, read_audio, read_frames

_STARVED_S = 0.5
"""On a machine that cannot even read in time, a late frame goes out every so often."""
_FRAMES_AHEAD = 6
_BLOCKS_AHEAD = 48
_SHORTEST_LOOP_S = 0.2
"""A single picture, as a clip, is sent anew so often."""
_SILENCE = np.zeros(SAMPLE_RATE_HZ, np.int16)


@dataclass(slots=True)
class Feed:
    """A source that is open for one call. fps: of its pictures, as far as can be known.

    sound: mono blocks; None without any. clock: to be started with the call. is_desktop: pictures
    of a screen, of any shape (`video.desktop.fitted`).
    """

    clock: MediaClock
    fps: Fraction
    pictures: Pictures
    sound: Sound | None = None
    is_desktop: bool = False

    def close(self) -> None:
        """Stop reading."""
        self.pictures.close()
        if self.sound is not None:
            self.sound.close()


class Source(Protocol):
    """What a peer sends."""

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        """Begin to read; blocks, and raises MediaError where there is nothing to be had.

        size_px: side of the prepared pictures. kbps: what the stream may cost, which says how many
        frames a second it carries. seconds: the feed ends so long after the call's start.
        """


class Schedule:
    """Those of `timed` frames, prepared, that are to be sent and can be sent in time.

    step: every so many frames one is sent. Iterating, which can be done once, raises what `timed`
    raises.
    """

    def __init__(
        self,
        timed: Iterable[TimedFrame],
        size_px: int,
        seconds: float | None,
        clock: MediaClock,
        step: int = 1,
    ) -> None:
        self.dropped = 0
        self._timed = timed
        self._size_px = size_px
        self._seconds = math.inf if seconds is None else seconds
        self._clock = clock
        self._step = step

    def __iter__(self) -> Iterator[SourceFrame]:
        last_s = 0.0
        frames, self._timed = self._timed, ()  # what they have open is not kept open here
        for index, timed in enumerate(frames):
            if timed.time_s >= self._seconds:
                return
            if index % self._step:
                continue
            if self._clock.late_s(timed.time_s) > MAX_LATE_S and timed.time_s - last_s < _STARVED_S:
                self.dropped += 1
                continue
            last_s = timed.time_s
            yield SourceFrame(index, timed.time_s, prepare(timed.frame, self._size_px))


class ScheduledPictures(ReadAhead[SourceFrame]):
    """A schedule's frames, a few of them made ahead."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        super().__init__(schedule, _FRAMES_AHEAD)

    @property
    def dropped(self) -> int:
        """Frames that were too late to be prepared."""
        return self._schedule.dropped


@dataclass(frozen=True, slots=True)
class ClipSource:
    """A video file and its sound; loop: again and again, both in step."""

    path: Path
    loop: bool = False

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        """Begin to read the clip; raises MediaError as `gemino.media.probe` does."""
        info = probe(self.path)
        clock, step = MediaClock(), frame_step(info.fps, kbps)
        if self.loop:
            period_s = max(length_s(self.path), _SHORTEST_LOOP_S)
            samples = round(period_s * SAMPLE_RATE_HZ)
            frames = looped_frames(self.path, samples / SAMPLE_RATE_HZ)
            sound = looped_sound(self.path, samples)
        else:
            frames = read_frames(self.path)
            sound = read_audio(self.path, SAMPLE_RATE_HZ)
        pictures = ScheduledPictures(Schedule(frames, size_px, seconds, clock, step))
        feed = Feed(clock, info.fps / step, pictures)
        if info.has_audio:
            feed.sound = ReadAhead(in_blocks(sound, seconds), _BLOCKS_AHEAD)
        return feed


@dataclass(frozen=True, slots=True)
class PatternSource:
    """A test pattern that moves and tells the time, without sound and without an end."""

    def open(
        self,
        size_px: int,
        kbps: float,  # noqa: ARG002 - its rate suits every stream
        seconds: float | None,
    ) -> Feed:
        """Begin to draw; cannot fail."""
        clock = MediaClock()
        frames = (
            TimedFrame(draw_pattern(size_px, index), index / PATTERN_FPS) for index in count()
        )
        pictures = ScheduledPictures(Schedule(frames, size_px, seconds, clock))
        return Feed(clock, Fraction(PATTERN_FPS), pictures)


def looped_frames(clip: Path, period_s: float) -> Iterator[TimedFrame]:
    """The clip's frames again and again, each round `period_s` after the one before; no end."""
    for number in count():
        for timed in read_frames(clip):
            if timed.time_s >= period_s:
                break
            yield TimedFrame(timed.frame, number * period_s + timed.time_s)


def looped_sound(clip: Path, period: int) -> Iterator[Samples]:
    """The clip's sound again and again, each round cut or filled up to `period` samples; no end."""
    while True:
        left = period
        for samples in read_audio(clip, SAMPLE_RATE_HZ):
            yield samples[:left]
            left -= min(len(samples), left)
            if not left:
                break
        while left:
            yield _SILENCE[:left]
            left -= min(len(_SILENCE), left)


def in_blocks(sound: Iterable[Samples], seconds: float | None) -> Iterator[Samples]:
    """The first `seconds` of `sound` in blocks of 20 ms; the last is padded."""
    left = None if seconds is None else round(seconds * SAMPLE_RATE_HZ)
    rest = np.zeros(0, np.int16)
    for samples in sound:
        rest = np.concatenate([rest, samples])
        while len(rest) >= BLOCK_SAMPLES:
            if left is not None and left <= 0:
                return
            yield rest[:BLOCK_SAMPLES]
            rest = rest[BLOCK_SAMPLES:]
            left = None if left is None else left - BLOCK_SAMPLES
    if len(rest) and (left is None or left > 0):
        yield np.pad(rest, (0, BLOCK_SAMPLES - len(rest)))
