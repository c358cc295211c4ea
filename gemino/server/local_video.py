"""Video on the link between browser and server, where rate costs nothing: VP8 at its best.

The stock encoder smooths noise away and stops at 1.5 Mbit/s, which would be taken for Gemino's own
doing.
"""

import asyncio
from typing import Any

import av
from aiortc import MediaStreamTrack
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE, MediaStreamError, convert_timebase
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from gemino.call.slot import packetize_vp8

_BITS_PER_PIXEL = 0.5
_FPS = 30
_PICTURE_ID_MODULUS = 1 << 15


class LocalEncoder(Encoder):
    """Fills the encoder slot of a video sender; a picture of another size is a key frame."""

    def __init__(self) -> None:
        self._context: VideoCodecContext | None = None
        self._picture_id = 0

    def encode(self, frame: object, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        assert isinstance(frame, av.VideoFrame)
        assert frame.pts is not None
        assert frame.time_base is not None
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        context = self._context
        if context is None or (context.width, context.height) != (frame.width, frame.height):
            context = self._context = _open(frame.width, frame.height)
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        data = b"".join(bytes(packet) for packet in context.encode(frame))
        return self._packetize(data), timestamp

    def pack(self, packet: "av.Packet[Any]") -> tuple[list[bytes], int]:
        """A picture that is VP8 already, from a track that gives packets."""
        assert packet.pts is not None
        assert packet.time_base is not None
        timestamp = convert_timebase(packet.pts, packet.time_base, VIDEO_TIME_BASE)
        return self._packetize(bytes(packet)), timestamp

    def _packetize(self, picture: bytes) -> list[bytes]:
        payloads = packetize_vp8(picture, self._picture_id)
        self._picture_id = (self._picture_id + 1) % _PICTURE_ID_MODULUS
        return payloads


def _open(width: int, height: int) -> VideoCodecContext:
    context = av.CodecContext.create("libvpx", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.time_base = VIDEO_TIME_BASE
    context.bit_rate = round(width * height * _FPS * _BITS_PER_PIXEL)
    context.gop_size = 1_000_000
    context.thread_count = 1
    context.options = {
        "deadline": "realtime",
        "cpu-used": "-8",
        "lag-in-frames": "0",
        "qmin": "4",
        "qmax": "40",
    }
    return context


class NewestTrack(MediaStreamTrack):
    """Sends the newest picture that it was given, each once."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._home = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._newest: av.VideoFrame | None = None

    def give(self, picture: av.VideoFrame) -> None:
        """Send this one next; from any thread. One that was not sent yet is dropped."""
        self._newest = picture
        if not self._home.is_closed():
            self._home.call_soon_threadsafe(self._changed.set)

    def stop(self) -> None:
        """No more pictures."""
        super().stop()
        self._changed.set()

    async def recv(self) -> av.VideoFrame:
        while self.readyState == "live":
            await self._changed.wait()
            self._changed.clear()
            picture, self._newest = self._newest, None
            if picture is not None:
                return picture
        raise MediaStreamError
