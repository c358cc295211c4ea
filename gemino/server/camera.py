"""The page's camera: its coded pictures on their way to whoever wants the newest of them."""

import logging
import threading
from collections import deque
from typing import NamedTuple

import av
from av.video.codeccontext import VideoCodecContext

from gemino.call.jitter import Picture
from gemino.errors import CodecError

logger = logging.getLogger(__name__)

_MAX_SIDE_PX = 4096
_MOST_WAITING = 60


class Taken(NamedTuple):
    """A picture of the camera. arrived_s: when its last packet came (time.monotonic)."""

    picture: av.VideoFrame
    arrived_s: float


class CameraStream:
    """Takes coded pictures in one thread and gives the newest to another.

    size_px: width and height of the latest one, as it comes in.
    """

    def __init__(self) -> None:
        self.size_px = (0, 0)
        self._changed = threading.Condition()
        self._waiting: deque[Picture] = deque()
        self._decoder = CameraDecoder()
        self._open = self._closed = False

    @property
    def wants_keyframe(self) -> bool:
        """Whether only a key frame mends the stream."""
        return self._decoder.wants_keyframe

    def start(self) -> None:
        """A page's stream begins: nothing of the one before counts."""
        with self._changed:
            self._open = True
            self._waiting.clear()
            self._decoder, self.size_px = CameraDecoder(), (0, 0)

    def stop(self) -> None:
        """The page is gone; what still comes of it is dropped."""
        with self._changed:
            self._open = False
            self._waiting.clear()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._open, self._closed = False, True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def push(self, pictures: list[Picture]) -> None:
        """Take coded pictures, in order."""
        with self._changed:
            if not self._open:
                return
            self._waiting.extend(pictures)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()  # the gap in their numbers asks for a key frame
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether a picture comes within `seconds`, or at all before the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, seconds)
            return bool(self._waiting) and not self._closed

    def newest(self) -> Taken | None:
        """The newest of the pictures that wait; None where none does or none can be decoded."""
        with self._changed:
            pictures, decoder = list(self._waiting), self._decoder
            self._waiting.clear()
        taken: Taken | None = None
        for picture in pictures:
            try:
                taken = Taken(decoder.decode(picture.data, picture.index), picture.arrived_at)
            except CodecError as error:
                logger.info("a picture of the camera is left out: %s", error)
        if taken is not None and decoder is self._decoder:
            self.size_px = (taken.picture.width, taken.picture.height)
        return taken


class CameraDecoder:
    """The camera's VP8 stream as the browser sends it, of any shape."""

    def __init__(self) -> None:
        self.wants_keyframe = True
        self._next: int | None = None
        self._context = _open_decoder()

    def decode(self, data: bytes, index: int) -> av.VideoFrame:
        """One picture, the next in order; index: as `call.jitter` counts them.

        Raises CodecError for damage, and for a picture larger than 4096 px.
        """
        if self._next is not None and index != self._next:
            self.wants_keyframe = True
        self._next = index + 1
        try:
            pictures = self._context.decode(av.Packet(data))
        except av.FFmpegError as error:
            self.wants_keyframe = True
            self._context = _open_decoder()
            raise CodecError(f"the camera's picture is damaged: {error}") from error
        if not pictures or max(pictures[-1].width, pictures[-1].height) > _MAX_SIDE_PX:
            self.wants_keyframe = True
            raise CodecError("the camera's stream shows nothing that can be used")
        if pictures[-1].key_frame:
            self.wants_keyframe = False
        return pictures[-1]


def _open_decoder() -> VideoCodecContext:
    context = av.CodecContext.create("vp8", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    return context
