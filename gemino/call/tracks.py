"""A clip as a camera and a microphone: media tracks on one monotonic schedule.

Frame with time t is due t seconds after the call's start. A frame that is more than `MAX_LATE_S`
late is dropped, at the source where it costs least: the call never drifts behind the clip. Only on
a machine that cannot even decode the clip in time, a late frame goes out every half second. Sound
of the 60 ms from t on is handed over at t + 60 ms, as a microphone would.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import VIDEO_CLOCK_RATE, VIDEO_TIME_BASE, MediaStreamError

from gemino.call.audio import BLOCK_SAMPLES, SAMPLE_RATE_HZ, Samples
from gemino.call.readahead import ReadAhead
from gemino.errors import GeminoError
from gemino.frames import Frame, prepare
from gemino.media import read_audio, read_frames

logger = logging.getLogger(__name__)

MAX_LATE_S = 0.1
_STARVED_S = 0.5

Item_co = TypeVar("Item_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class ClipFrame:
    """A clip's `index`th frame, prepared: uint8 [size, size, 3]; time_s since the first one."""

    index: int
    time_s: float
    frame: Frame


def clip_blocks(clip: Path, seconds: float | None) -> Iterator[Samples]:
    """The sound of the first `seconds` of `clip` in blocks of 60 ms; the last is padded."""
    left = None if seconds is None else round(seconds * SAMPLE_RATE_HZ)
    rest = np.zeros(0, np.int16)
    for samples in read_audio(clip, SAMPLE_RATE_HZ):
        rest = np.concatenate([rest, samples])
        while len(rest) >= BLOCK_SAMPLES:
            if left is not None and left <= 0:
                return
            yield rest[:BLOCK_SAMPLES]
            rest = rest[BLOCK_SAMPLES:]
            left = None if left is None else left - BLOCK_SAMPLES
    if len(rest) and (left is None or left > 0):
        yield np.pad(rest, (0, BLOCK_SAMPLES - len(rest)))


class MediaClock:
    """When the clip started to play, for all tracks of a call alike."""

    def __init__(self) -> None:
        self._started = asyncio.Event()
        self.start_s = 0.0

    @property
    def running(self) -> bool:
        return self._started.is_set()

    def late_s(self, time_s: float) -> float:
        """How long ago `time_s` of the clip was due; negative before that and before the start."""
        return time.monotonic() - self.start_s - time_s if self.running else -math.inf

    def start(self) -> None:
        """Time 0 is now."""
        self.start_s = time.monotonic()
        self._started.set()

    async def wait(self) -> float:
        """When the clip started (time.monotonic); waits for it."""
        await self._started.wait()
        return self.start_s


class ClipFrames:
    """The frames of the first `seconds` of a clip, without those that come too late to be sent.

    Iterating raises MediaError as `read_frames` does. step: every so many frames one is sent.
    dropped: how many were too late.
    """

    def __init__(
        self, clip: Path, size_px: int, seconds: float | None, clock: MediaClock, step: int = 1
    ) -> None:
        self.dropped = 0
        self._step = step
        self._clip = clip
        self._size_px = size_px
        self._seconds = math.inf if seconds is None else seconds
        self._clock = clock

    def __iter__(self) -> Iterator[ClipFrame]:
        last_s = 0.0
        for index, timed in enumerate(read_frames(self._clip)):
            if timed.time_s >= self._seconds:
                return
            if index % self._step:
                continue
            if self._clock.late_s(timed.time_s) > MAX_LATE_S and timed.time_s - last_s < _STARVED_S:
                self.dropped += 1
                continue
            last_s = timed.time_s
            yield ClipFrame(index, timed.time_s, prepare(timed.frame, self._size_px))


class _Source(Protocol[Item_co]):
    def get(self) -> Item_co | None: ...
    def ready(self) -> bool: ...


async def _next(source: _Source[Item_co]) -> Item_co | None:
    if source.ready():
        return source.get()
    return await asyncio.get_running_loop().run_in_executor(None, source.get)


class ClipVideoTrack(MediaStreamTrack):
    """A clip's frames when they are due. log: (index, time_s) of every frame handed over."""

    kind = "video"

    def __init__(self, source: ClipFrames, frames: ReadAhead[ClipFrame], clock: MediaClock) -> None:
        super().__init__()
        self._source = source
        self._dropped = 0
        self.log: list[tuple[int, float]] = []
        self.failure: GeminoError | None = None
        self._frames = frames
        self._clock = clock

    @property
    def dropped(self) -> int:
        """Frames that were too late to be handed over."""
        return self._dropped + self._source.dropped

    async def recv(self) -> av.VideoFrame:
        await self._clock.wait()
        while True:
            frame = await self._read()
            late_s = self._clock.late_s(frame.time_s)
            if late_s > MAX_LATE_S and self._frames.ready():
                self._dropped += 1
                continue
            if late_s < 0:
                await asyncio.sleep(-late_s)
            self.log.append((frame.index, frame.time_s))
            picture = av.VideoFrame.from_ndarray(frame.frame, format="rgb24")
            picture.pts = round(frame.time_s * VIDEO_CLOCK_RATE)
            picture.time_base = VIDEO_TIME_BASE
            return picture

    async def _read(self) -> ClipFrame:
        try:
            frame = await _next(self._frames)
        except GeminoError as error:
            logger.warning("%s", error)
            self.failure = error
            frame = None
        if frame is None:
            self.stop()
            raise MediaStreamError
        return frame


class ClipAudioTrack(MediaStreamTrack):
    """A clip's sound in blocks of 60 ms; one that cannot be read further ends early."""

    kind = "audio"

    def __init__(self, blocks: ReadAhead[Samples], clock: MediaClock) -> None:
        super().__init__()
        self._blocks = blocks
        self._clock = clock
        self._position = 0

    async def recv(self) -> av.AudioFrame:
        start_s = await self._clock.wait()
        try:
            block = await _next(self._blocks)
        except GeminoError as error:
            logger.warning("%s", error)
            block = None
        if block is None:
            self.stop()
            raise MediaStreamError
        due_s = start_s + (self._position + BLOCK_SAMPLES) / SAMPLE_RATE_HZ
        await asyncio.sleep(max(due_s - time.monotonic(), 0))
        samples = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="mono")
        samples.sample_rate = SAMPLE_RATE_HZ
        samples.pts, samples.time_base = self._position, Fraction(1, SAMPLE_RATE_HZ)
        self._position += BLOCK_SAMPLES
        return samples
