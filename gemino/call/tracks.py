"""A source's pictures and sound as media tracks, on one monotonic schedule.

Time 0 is the call's start. A picture with time t is due t seconds later; one that was taken live is
due at once. A picture that is more than `MAX_LATE_S` late is dropped, at the source where it costs
least (`sources`): the call never drifts behind. Sound of 60 ms from t on is handed over at
t + 60 ms, as a microphone would, in blocks as long as a packet (20 to 60 ms).
"""

import asyncio
import logging
import math
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, TypeVar

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import VIDEO_CLOCK_RATE, VIDEO_TIME_BASE, MediaStreamError

from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.errors import GeminoError
from gemino.frames import Frame

logger = logging.getLogger(__name__)

MAX_LATE_S = 0.1

Item_co = TypeVar("Item_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """A source's `index`th frame, prepared: uint8 [size, size, 3]; time_s since the call's start,
    strictly increasing."""

    index: int
    time_s: float
    frame: Frame


class Pictures(Protocol):
    """What a video track needs of a source. dropped: frames that it left out, being too late."""

    @property
    def dropped(self) -> int: ...

    def peek(self) -> SourceFrame | None:
        """The frame that `get` will give first, None where only the call will tell; may wait."""

    def get(self) -> SourceFrame | None:
        """The next frame, None at the end; waits, and raises MediaError."""

    def ready(self) -> bool:
        """Whether `get` would not wait."""

    def close(self) -> None:
        """End soon: whoever waits in `get` gets an end."""


class MediaClock:
    """When the call started, for all tracks alike."""

    def __init__(self) -> None:
        self._started = asyncio.Event()
        self.start_s = 0.0

    @property
    def running(self) -> bool:
        return self._started.is_set()

    def late_s(self, time_s: float) -> float:
        """How long ago `time_s` was due; negative before that and before the start."""
        return time.monotonic() - self.start_s - time_s if self.running else -math.inf

    def start(self) -> None:
        """Time 0 is now."""
        self.start_s = time.monotonic()
        self._started.set()

    async def wait(self) -> float:
        """When the call started (time.monotonic); waits for it."""
        await self._started.wait()
        return self.start_s


class _Waiting(Protocol[Item_co]):
    def get(self) -> Item_co | None: ...
    def ready(self) -> bool: ...


async def _next(source: _Waiting[Item_co]) -> Item_co | None:
    if source.ready():
        return source.get()
    return await asyncio.get_running_loop().run_in_executor(None, source.get)


@dataclass(frozen=True, slots=True)
class _Running:
    """A source in use. base_s: its clock's start, in seconds since the call's."""

    pictures: Pictures
    clock: MediaClock
    base_s: float


class VideoTrack(MediaStreamTrack):
    """A source's frames when they are due.

    sent: how many were handed over. latest: (index, time_s) of the last of them. keep_log: of all
    of them, else `log` is empty: a call may last for hours. watch: called with each, on the event
    loop. hidden: hand over none, though the source goes on.
    """

    kind = "video"

    def __init__(self, pictures: Pictures, clock: MediaClock, *, keep_log: bool = False) -> None:
        super().__init__()
        self._dropped = 0
        self.sent = 0
        self.latest: tuple[int, float] | None = None
        self._log = array("d")
        self.failure: GeminoError | None = None
        self.watch: Callable[[SourceFrame], None] | None = None
        self.hidden = False
        self._keep_log = keep_log
        self._clock = clock
        self._running = _Running(pictures, clock, 0.0)

    @property
    def log(self) -> list[tuple[int, float]]:
        """(index, time_s) of every frame handed over."""
        return [(int(at), s) for at, s in zip(self._log[::2], self._log[1::2], strict=True)]

    @property
    def dropped(self) -> int:
        """Frames that were too late to be handed over."""
        return self._dropped + self._running.pictures.dropped

    def switch(self, pictures: Pictures, clock: MediaClock) -> None:
        """Hand over those of another source from now on, whose `clock` starts now."""
        self._dropped = self.dropped
        if not clock.running:
            clock.start()
        self._running = _Running(pictures, clock, clock.start_s - self._clock.start_s)

    async def recv(self) -> av.VideoFrame:
        await self._clock.wait()
        while True:
            running = self._running
            frame = await self._read(running.pictures)
            if frame is not None:
                late_s = running.clock.late_s(frame.time_s)
                if late_s > MAX_LATE_S and running.pictures.ready():
                    self._dropped += 1
                    continue
                if late_s < 0:
                    await asyncio.sleep(-late_s)
            if running is not self._running:
                continue
            if frame is None:
                self.stop()
                raise MediaStreamError
            if self.hidden:
                continue
            frame = replace(frame, time_s=frame.time_s + running.base_s)
            self.sent += 1
            self.latest = frame.index, frame.time_s
            if self._keep_log:
                self._log.extend(self.latest)
            if self.watch is not None:
                self.watch(frame)
            picture = av.VideoFrame.from_ndarray(frame.frame, format="rgb24")
            picture.pts = round(frame.time_s * VIDEO_CLOCK_RATE)
            picture.time_base = VIDEO_TIME_BASE
            return picture

    async def _read(self, pictures: Pictures) -> SourceFrame | None:
        try:
            return await _next(pictures)
        except GeminoError as error:
            logger.warning("%s", error)
            self.failure = error
            return None


class Sound(Protocol):
    """What an audio track needs of a source: mono blocks of any length, without gaps."""

    def get(self) -> Samples | None:
        """The next block, None at the end; waits, and raises MediaError."""

    def ready(self) -> bool:
        """Whether `get` would not wait."""

    def close(self) -> None:
        """End soon: whoever waits in `get` gets an end."""


class AudioTrack(MediaStreamTrack):
    """A source's sound in blocks of `packet_ms`; one that cannot be read further ends early.

    packet_ms: may be changed until media flows. watch: called with each block and when it was
    taken (time.monotonic), on the event loop. muted: hand over silence, though the source goes on.
    """

    kind = "audio"

    def __init__(self, sound: Sound, clock: MediaClock, packet_ms: int = 60) -> None:
        super().__init__()
        self.packet_ms = packet_ms
        self.watch: Callable[[Samples, float], None] | None = None
        self.muted = False
        self._sound: Sound | None = sound
        self._clock = clock
        self._position = 0
        self._rest = np.zeros(0, np.int16)

    async def recv(self) -> av.AudioFrame:
        start_s = await self._clock.wait()
        wanted = self.packet_ms * SAMPLE_RATE_HZ // 1000
        block = await self._read(wanted)
        due_s = start_s + (self._position + wanted) / SAMPLE_RATE_HZ
        await asyncio.sleep(max(due_s - time.monotonic(), 0))
        if self.muted:
            block = np.zeros(wanted, np.int16)
        if self.watch is not None:
            self.watch(block, start_s + self._position / SAMPLE_RATE_HZ)
        samples = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="mono")
        samples.sample_rate = SAMPLE_RATE_HZ
        samples.pts, samples.time_base = self._position, Fraction(1, SAMPLE_RATE_HZ)
        self._position += wanted
        return samples

    def switch(self, sound: Sound | None) -> None:
        """Hand over that of another source from now on; silence where it has none."""
        self._sound = sound
        self._rest = np.zeros(0, np.int16)

    async def _read(self, wanted: int) -> Samples:
        """The next `wanted` samples; the last ones are filled up with silence."""
        while len(self._rest) < wanted:
            sound = self._sound
            if sound is None:
                return np.zeros(wanted, np.int16)
            try:
                block = await _next(sound)
            except GeminoError as error:
                logger.warning("%s", error)
                block = None
            if sound is not self._sound:
                continue
            if block is None:
                if not len(self._rest):
                    self.stop()
                    raise MediaStreamError
                block = np.zeros(wanted - len(self._rest), np.int16)
            self._rest = np.concatenate([self._rest, block])
        taken, self._rest = self._rest[:wanted], self._rest[wanted:]
        return taken
