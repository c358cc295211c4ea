"""This machine's screen as a source: the newest picture, by FFmpeg's x11grab.

PyAV's wheels bring x11grab on Linux; it sees an X server, XWayland's windows included, but nothing
of a Wayland desktop around them. A screen that is lost in mid-call stands as it was last seen, and
is looked for every second.
"""

import logging
import threading
import time
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer

from gemino.call.sources import Feed
from gemino.call.tracks import MediaClock, SourceFrame
from gemino.errors import MediaError
from gemino.frames import Frame, from_video_frame
from gemino.video.desktop import fitted

logger = logging.getLogger(__name__)

SCREEN_FPS = 5
_GRABBER = "x11grab"
_FIRST_PICTURE_S = 5.0
_STANDS_S = 1.0
_REOPEN_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class DesktopSource:
    """A screen. display: of the X server, such as ":0"; "" for the one that programs use here."""

    display: str = ""

    def open(
        self,
        size_px: int,  # noqa: ARG002 - a screen goes as large as it is
        kbps: float,  # noqa: ARG002 - and its pace is that of what can be paid for
        seconds: float | None,
    ) -> Feed:
        """Begin to grab; raises MediaError where there is no screen."""
        clock = MediaClock()
        grabber = Grabber(self.display, clock, seconds)
        return Feed(clock, Fraction(SCREEN_FPS), grabber, is_desktop=True)


class Grabber:
    """Grabs a screen in a thread; a track's pictures, as `fitted` makes them.

    Raises MediaError where there is no screen at the start.
    """

    def __init__(self, display: str, clock: MediaClock, seconds: float | None) -> None:
        self.dropped = 0
        self._display = display
        self._clock = clock
        self._seconds = seconds
        self._index = 0
        self._sent_s = -1.0
        self._latest: Frame | None = None
        self._taken_at: float | None = None
        """When `latest` was taken, until it is handed over."""
        self._closed = threading.Event()
        self._changed = threading.Condition()
        container = _open(display)
        self._thread = threading.Thread(target=self._run, args=(container,), name="screen")
        self._thread.daemon = True
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None, _FIRST_PICTURE_S)
        if self._latest is None:
            self.close()
            raise MediaError("the screen gives no picture: is it an X server's?")

    def peek(self) -> SourceFrame | None:
        """None: the first picture of the call is yet to be taken."""
        return None

    def get(self) -> SourceFrame | None:
        """The newest picture, once; the last one again after a second without any."""
        with self._changed:
            self._changed.wait_for(self.ready, _STANDS_S)
            if self._closed.is_set() or self._latest is None:
                return None
            taken_s = time.monotonic() if self._taken_at is None else self._taken_at
            self._taken_at = None
            time_s = max(taken_s - self._clock.start_s, self._sent_s + 0.001, 0.0)
            if self._seconds is not None and time_s >= self._seconds:
                return None
            self._sent_s = time_s
            return SourceFrame(self._index, time_s, self._latest)

    def ready(self) -> bool:
        """Whether there is a picture that has not been handed over, or the end."""
        return self._closed.is_set() or self._taken_at is not None

    def close(self) -> None:
        """Grab no more."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()

    def _run(self, container: InputContainer | None) -> None:
        lost = False
        while not self._closed.is_set():
            if container is not None:
                lost = self._grab(container, lost=lost)
                container.close()
            if self._closed.is_set():
                return
            if not lost:
                lost = True
                logger.warning("the screen is gone: its last picture stands until it is back")
            self._closed.wait(_REOPEN_EVERY_S)
            try:
                container = _open(self._display)
            except MediaError as error:
                logger.debug("%s", error)
                container = None

    def _grab(self, container: InputContainer, *, lost: bool) -> bool:
        """Take pictures as long as there are some; whether the screen still counts as lost."""
        try:
            for picture in container.decode(video=0):
                frame = fitted(from_video_frame(picture))
                with self._changed:
                    self._index += 1
                    self._latest = frame
                    self._taken_at = time.monotonic() if self._clock.running else None
                    self._changed.notify_all()
                if lost:
                    lost = False
                    logger.warning("the screen is back")
                if self._closed.is_set():
                    break
        except av.FFmpegError as error:
            logger.debug("the screen cannot be grabbed: %s", error)
        return lost


def _open(display: str) -> InputContainer:
    if _GRABBER not in av.formats_available:
        raise MediaError(
            f"no screen can be shared: PyAV has no {_GRABBER} here; its wheels bring it on Linux"
        )
    options = {"framerate": str(SCREEN_FPS), "draw_mouse": "1"}
    try:
        container = av.open(display, format=_GRABBER, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            f"no screen can be shared: the X server {display or 'in DISPLAY'} cannot be reached"
            f" ({getattr(error, 'strerror', None) or error})"
        ) from None
    assert isinstance(container, InputContainer)
    return container
