"""What a page's pictures and sound go through: the try-out (`roundtrip`) or a call (`devices`)."""

from collections.abc import Callable
from typing import Literal, Protocol

import av
from aiortc import MediaStreamTrack
from aiortc.codecs.base import Encoder

from gemino.call.jitter import Picture
from gemino.errors import GeminoError
from gemino.server.messages import PageStats, Settings

Show = Callable[[av.VideoFrame], None]
Mode = Literal["tryout", "call"]


class Trip(Protocol):
    """One for all pages, one page at a time. mode: what the page is for. size_px: side of the
    picture that is shown. kbps: the rate that a page begins with."""

    mode: Mode
    size_px: int
    kbps: float

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing is shown any more."""

    @property
    def wants_keyframe(self) -> bool:
        """Whether the camera's stream needs a key frame."""

    def start(self, show: Show) -> None:
        """Begin with a new page; show: called in a thread, with every picture to be seen."""

    def stop(self) -> None:
        """The page is gone."""

    def set(self, settings: Settings) -> None:
        """Go on as the page wants it."""

    def push(self, pictures: list[Picture]) -> None:
        """Take coded pictures of the camera, in order."""

    def sound(self, microphone: MediaStreamTrack) -> tuple[MediaStreamTrack, Encoder]:
        """What the page hears, where this is what its microphone hears."""

    def thumbnail(self) -> bytes | None:
        """The latest LR picture as JPEG, where the page wants it."""

    def stats(self, now: float) -> PageStats:
        """What the page shows."""
