"""Pictures of a screen: text that stays legible, at whatever pace the rate pays for.

A camera's stream keeps its pace and lets quality go; a screen's does the opposite: every picture is
coded equally well, and the next one waits until it can be afforded. Both encoders are told that
these are screens: AV1 then has palettes and copies blocks within a picture.

LR pictures are square and pictures of a screen never are (`fitted`): that is how a receiver tells
them apart.
"""

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from gemino.config import MAX_SCREEN_PX, LrCodec
from gemino.errors import CodecError
from gemino.frames import Frame, to_video_frame
from gemino.svtav1 import quiet_svt_av1
from gemino.video.guard import within
from gemino.video.lr import EncodedPicture

_FPS = Fraction(5)
"""Only the encoders' own reckoning: both are told of quality, not of rate."""
_STALLED_S = 20.0
_LEAST_PX = 64
_AV1_OPTIONS = {"preset": "8", "crf": "48", "svtav1-params": "pred-struct=1:rtc=1:lp=1:scm=1"}
_VP8_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "-6",
    "screen-content-mode": "1",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "crf": "30",
    "qmin": "20",
    "qmax": "40",
    "b": "100M",  # libvpx takes crf as a floor of quality below a rate
}


def fitted(frame: Frame) -> Frame:
    """`frame`, of any shape, as it is coded: at most 1920 px, sides even, and not square."""
    height, width = frame.shape[:2]
    scale = min(MAX_SCREEN_PX / max(height, width), 1.0)
    new = [max(round(side * scale) // 2 * 2, _LEAST_PX) for side in (height, width)]
    if (height, width) != tuple(new):
        frame = np.asarray(cv2.resize(frame, new[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if new[0] == new[1]:
        frame = np.ascontiguousarray(frame[:-2])
    return frame


class DesktopEncoder:
    """Encodes pictures of a screen, which may change its size; one picture a call."""

    def __init__(self, codec: LrCodec) -> None:
        self.codec: LrCodec = codec
        self._context: VideoCodecContext | None = None
        self._pts = 0

    def encode(self, frame: Frame, *, force_keyframe: bool = False) -> EncodedPicture:
        """Encode `frame`, uint8 [H, W, 3] RGB as `fitted` gives it; raises CodecError."""
        height, width = frame.shape[:2]
        context = self._context
        fresh = force_keyframe and self.codec == "av1"  # a forced one is starved (`av1`)
        if context is None or fresh or (context.height, context.width) != (height, width):
            context = self._context = self._open(width, height)
        picture = to_video_frame(frame, self._pts, 1 / _FPS)
        picture.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        self._pts += 1
        try:
            packets = within(_STALLED_S, lambda: context.encode(picture))
        except (av.FFmpegError, TimeoutError) as error:
            self._context = None
            raise CodecError(f"{self.codec} encoder failed on a screen: {error}") from error
        if len(packets) != 1:
            raise CodecError(f"{self.codec} encoder gave {len(packets)} pictures, not one")
        return EncodedPicture(bytes(packets[0]), packets[0].is_keyframe)

    def _open(self, width: int, height: int) -> VideoCodecContext:
        name = "libsvtav1" if self.codec == "av1" else "libvpx"
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = width, height
        context.pix_fmt = "yuv420p"
        context.time_base, context.framerate = 1 / _FPS, _FPS
        context.gop_size = 1_000_000  # key frames only on demand
        context.thread_count = 1
        context.options = dict(_AV1_OPTIONS if self.codec == "av1" else _VP8_OPTIONS)
        try:
            with quiet_svt_av1():
                context.open()
        except av.FFmpegError as error:
            raise CodecError(f"cannot open a {self.codec} encoder for a screen: {error}") from error
        self._pts = 0
        return context
