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

from gemino.call.newest import NewestPictures
from gemino.call.sources import Feed
from gemino.call.tracks import MediaClock
from gemino.errors import MediaError
from gemino.frames import from_video_frame
from gemino.video.desktop import fitted

logger = logging.getLogger(__name__)

SCREEN_FPS = 5
_GRABBER = "x11grab"
_FIRST_PICTURE_S = 5.0
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


class Grabber(NewestPictures):
    """Grabs a screen in a thread; a track's pictures, as `fitted` makes them.

    Raises MediaError where there is no screen at the start.
    """

    def __init__(self, display: str, clock: MediaClock, seconds: float | None) -> None:
        super().__init__(clock, seconds)
        self._display = display
        self._index = 0
        container = _open(display)
        self._thread = threading.Thread(target=self._run, args=(container,), name="screen")
        self._thread.daemon = True
        self._thread.start()
        if not self.wait_for_one(_FIRST_PICTURE_S):
            self.close()
            raise MediaError("the screen gives no picture: is it an X server's?")

    def _run(self, container: InputContainer | None) -> None:
        lost = False
        while not self.is_closed():
            if container is not None:
                lost = self._grab(container, lost=lost)
                container.close()
            if self.is_closed():
                return
            if not lost:
                lost = True
                logger.warning("the screen is gone: its last picture stands until it is back")
            self.rest(_REOPEN_EVERY_S)
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
                self._index += 1
                self.put(self._index, frame, time.monotonic())
                if lost:
                    lost = False
                    logger.warning("the screen is back")
                if self.is_closed():
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
