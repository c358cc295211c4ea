"""A camera as a source: the newest picture, with the time when it was taken.

A thread of its own takes every picture as soon as the camera has it, so that none is old when it is
wanted, and keeps one. How many come in a second is measured: what a camera says of itself is what
it was asked for, and in the dark it takes half as many.

A camera that stops (unplugged, taken by another program) is opened again as soon as that can be
done. Until then its last picture stands, sent once a second, so that a peer that has lost it can
have it again.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np

from gemino.call.devices import device_path, open_capture
from gemino.call.newest import NewestPictures
from gemino.call.sources import Feed
from gemino.call.tracks import MediaClock
from gemino.config import frame_step
from gemino.errors import MediaError
from gemino.frames import Frame, crop_square, prepare

logger = logging.getLogger(__name__)

_FIRST_PICTURE_S = 8.0
"""Some cameras take five to start."""
_MEASURE_S = 1.0
_SETTLING = 3
"""Pictures after the first that come at odd times."""
_INTERVALS = 30
_MOST_FPS = 240
_REOPEN_EVERY_S = 1.0
_MOST_DAMAGED = 30
"""Pictures in a row that cannot be decoded before the camera is taken for broken."""


class Capture(Protocol):
    """What is used of cv2.VideoCapture."""

    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


OpenCapture = Callable[[str, int], Capture]


class RateMeter:
    """How many pictures a second come, over the last thirty; None before it can be told."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_INTERVALS + 1)
        self._settling = _SETTLING

    def add(self, taken_s: float) -> None:
        """A picture was taken."""
        if self._settling:
            self._settling -= 1
        else:
            self._times.append(taken_s)

    @property
    def fps(self) -> Fraction | None:
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        rate = (len(self._times) - 1) / (self._times[-1] - self._times[0])
        return Fraction(round(min(max(rate, 1.0), _MOST_FPS) * 10), 10)


@dataclass(frozen=True, slots=True)
class CameraSource:
    """A camera by its number or path. capture: how it is opened, anew after each loss."""

    device: str = "0"
    capture: OpenCapture = open_capture

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        """Start the camera and measure its rate, which takes a second or a few.

        Raises MediaError where there is none, it is busy, or gives no pictures.
        """
        clock = MediaClock()
        camera = Camera(self, size_px, kbps, seconds, clock)
        try:
            fps = camera.wait()
        except MediaError:
            camera.close()
            raise
        return Feed(clock, fps / frame_step(fps, kbps), camera)


class Camera(NewestPictures):
    """Reads a camera in a thread; a track's pictures. Raises MediaError where it does not open."""

    def __init__(
        self,
        source: CameraSource,
        size_px: int,
        kbps: float,
        seconds: float | None,
        clock: MediaClock,
    ) -> None:
        super().__init__(clock, seconds)
        self._source = source
        self._name = device_path(source.device)
        self._size_px = size_px
        self._kbps = kbps
        self._rate = RateMeter()
        self._index = 0
        self._lost = False
        capture = source.capture(source.device, size_px)
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name="camera", daemon=True
        )
        self._thread.start()

    def wait(self) -> Fraction:
        """Pictures a second, as soon as that is known; raises MediaError where none comes."""
        deadline = time.monotonic() + _FIRST_PICTURE_S
        if not self.wait_for_one(_FIRST_PICTURE_S):
            raise MediaError(
                f"camera {self._name} gives no pictures: close the program that uses it"
            )
        self.rest(_MEASURE_S)
        with self._changed:
            while self._rate.fps is None and time.monotonic() < deadline:
                self._changed.wait(_MEASURE_S)
        return self._rate.fps or Fraction(1)

    def _run(self, capture: Capture | None) -> None:
        damaged = 0
        while not self.is_closed():
            if capture is None or damaged > _MOST_DAMAGED or not capture.grab():
                capture, damaged = self._open_again(capture), 0
                continue
            taken_s = time.monotonic()
            self._rate.add(taken_s)
            self._index += 1
            if not self._wanted():
                continue
            whole, picture = capture.retrieve()
            damaged = 0 if whole else damaged + 1
            if whole:
                square = crop_square(np.asarray(picture, np.uint8))
                colours = cv2.cvtColor(square, cv2.COLOR_BGR2RGB)
                self._take(taken_s, prepare(np.asarray(colours, np.uint8), self._size_px))
        if capture is not None:
            capture.release()

    def _wanted(self) -> bool:
        """Whether this picture is one of those that are sent."""
        if not self._clock.running and self._latest is not None:
            return False  # it will be too old when the call begins
        return self._index % frame_step(self._rate.fps or Fraction(1), self._kbps) == 0

    def _take(self, taken_s: float, frame: Frame) -> None:
        if self._lost:
            self._lost = False
            logger.warning("camera %s is back", self._name)
        self.put(self._index, frame, taken_s)

    def _open_again(self, broken: Capture | None) -> Capture | None:
        """Let go of the camera and, a little later, try to get it back; None where that fails."""
        if broken is not None:
            broken.release()
        if not self._lost:
            self._lost = True
            logger.warning(
                "camera %s gives no more pictures: the last one stands until it is back", self._name
            )
        if self.rest(_REOPEN_EVERY_S):
            return None
        try:
            capture = self._source.capture(self._source.device, self._size_px)
        except MediaError as error:
            logger.debug("%s", error)
            return None
        self._rate = RateMeter()
        return capture
