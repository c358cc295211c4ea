"""Where the pictures of a call go while it runs: a window, a page, a virtual camera, a movie."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gemino.call.opus import Samples
from gemino.frames import Frame
from gemino.runtime.origins import Origins


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """One frame as the receiver shows it.

    frame: uint8 [S, S, 3]. media_time_s: since the first picture. timestamp: its RTP timestamp.
    shown_s: when (time.monotonic). neural: rebuilt by the network. lr_px: side of its LR picture.
    interpolated: it was not sent, but made from its neighbours, halfway in time as in motion.
    lr: that picture, straightened, uint8 [s, s, 3]. origins: where the detail comes from, where
    that was asked for (`Viewer.explains`) and the network drew this very picture. whole: a shared
    screen as it came, uint8 [H, W, 3]; `frame` shows it with black borders.
    """

    frame: Frame
    media_time_s: float
    timestamp: int
    shown_s: float
    neural: bool
    lr_px: int
    lr: Frame | None = None
    origins: Origins | None = None
    whole: Frame | None = None
    interpolated: bool = False


class Display(Protocol):
    """Takes pictures as the call shows and sends them; `PeerOptions.displays` holds some.

    Both methods are called in threads that the call needs: they return at once, keep the frame
    without a change to it, and raise nothing. Of frames that come too fast the newest wins.
    Whoever opens a display closes it after the call.
    """

    def show(self, shown: ShownFrame) -> None:
        """A frame of the other side, as it is shown; in a thread of the viewer, in order."""

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """A frame of our own, uint8 [S, S, 3], as it is sent; on the event loop, in order.

        taken_s: when it was taken (time.monotonic).
        """

    def close(self) -> None:
        """Show nothing more; blocks for a moment, a second call does nothing."""


@runtime_checkable
class Listener(Protocol):
    """A display that takes the sound too; as with pictures, it returns at once."""

    def hear(self, samples: Samples) -> None:
        """What follows of the other side's sound, mono at 48 kHz, gaps filled.

        The first sample belongs to its first picture (`ShownFrame.media_time_s` of 0).
        """

    def hear_self(self, samples: Samples, taken_s: float) -> None:
        """Sound of ours as it is sent, mono at 48 kHz, taken from `taken_s` (time.monotonic) on."""
