"""Low-resolution streams: VP8 and VP9 through libvpx, AV1 through SVT-AV1 and dav1d.

What differs from codec to codec is in `video.vpx` and `video.av1`; what they share is here. Three
habits of the libraries decide its shape:

- The rate control counts in the encoder's time base. Given timestamps in other units, "100 kbps"
  delivers 19 to 33; here the time base is one frame and every picture advances it by one.
- Bitrate and size of an open encoder cannot be changed (a new bit rate is ignored, a new size is
  silently scaled), so `reconfigure` opens a fresh one, whose first picture is a key frame.
- A lost picture raises no error: the decoder goes on from what it has, and the picture rots until
  the next key frame. `LrDecoder` therefore wants to be told picture numbers and says `intact`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from gemino.config import MAX_LR_PX, MAX_SCREEN_PX, Fovea, LrCodec, Rung
from gemino.errors import CodecError
from gemino.frames import Frame, from_video_frame, to_video_frame
from gemino.video import av1, fovea, vpx
from gemino.video.guard import within
from gemino.video.library import Library

logger = logging.getLogger(__name__)

_STALLED_S = 2.0
"""No honest picture takes a tenth of that."""
_LIBRARIES: Mapping[LrCodec, Library] = {"vp8": vpx.VP8, "vp9": vpx.VP9, "av1": av1.AV1}
MAX_PICTURE_BYTES = 1_000_000
MAX_PLAIN_PX = 1920
"""No honest LR picture is larger; refuse before the decoder sees it."""
_PICTURE_ID_MODULUS = 1 << 15
"""The VP8 payload descriptor's long PictureID has 15 bits (RFC 7741, section 4.2)."""


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One coded picture: its payload and whether it stands alone."""

    data: bytes
    keyframe: bool


class LrEncoder:
    """Encodes square frames of one rung; every call returns one picture."""

    def __init__(self, rung: Rung, fps: Fraction = Fraction(30)) -> None:
        self.fps = Fraction(fps).limit_denominator(1001)
        if not 1 <= self.fps <= 240:
            raise ValueError(f"fps must be in 1..240, not {fps}")
        self.reconfigure(rung)

    def reconfigure(self, rung: Rung) -> None:
        """Change codec, size or bitrate; the next picture is a key frame."""
        self.rung = rung
        self._pts = 0
        self._context = _open_encoder(rung, self.fps)

    def encode(self, frame: Frame, *, force_keyframe: bool = False) -> EncodedPicture:
        """Encode `frame`, uint8 [rung.size_px, rung.size_px, 3] RGB, sampled as `rung` says.

        Raises ValueError for another shape, CodecError where the library fails.
        """
        side = self.rung.size_px
        if frame.shape != (side, side, 3):
            raise ValueError(f"frame must be [{side}, {side}, 3], not {list(frame.shape)}")
        if force_keyframe and self._pts and _LIBRARIES[self.rung.codec].fresh_keyframes:
            self.reconfigure(self.rung)
        try:
            packets = self._encode(frame, force_keyframe)
        except TimeoutError:
            logger.warning("the %s encoder stalled and is replaced", self.rung.codec)
            self.reconfigure(self.rung)
            try:
                packets = self._encode(frame, force_keyframe)
            except TimeoutError as error:
                raise CodecError(f"{self.rung.codec} encoder stalled: {error}") from error
        if len(packets) != 1:
            raise CodecError(f"{self.rung.codec} encoder gave {len(packets)} pictures, not one")
        data, keyframe = bytes(packets[0]), packets[0].is_keyframe
        if keyframe and self.rung.fovea is not None:
            data = fovea.mark(data, self.rung.fovea)
        return EncodedPicture(data, keyframe)

    def _encode(self, frame: Frame, force_keyframe: bool) -> "list[av.Packet[Any]]":
        picture = to_video_frame(frame, self._pts, 1 / self.fps)
        picture.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        self._pts += 1
        call = partial(self._context.encode, picture)
        try:
            if _LIBRARIES[self.rung.codec].may_stall:
                return within(_STALLED_S, call)
            return call()
        except av.FFmpegError as error:
            raise CodecError(f"{self.rung.codec} encoder failed: {error}") from error


class LrDecoder:
    """Decodes pictures in order; a change of size comes with a key frame.

    intact: False from a gap in the picture numbers until the next key frame: what is shown may
    be damaged though no error was raised. fovea: where the pictures look closer, as the latest
    key frame says. plain: the stream is any WebRTC peer's, of any size and shape.
    """

    def __init__(self, codec: LrCodec = "vp8", *, plain: bool = False) -> None:
        self.codec: LrCodec = codec
        self.plain = plain
        self.intact = False
        self.fovea: Fovea | None = None
        self._last_id: int | None = None
        self._context = _open_decoder(codec)

    def decode(self, data: bytes, picture_id: int | None = None) -> Frame:
        """Decode one picture to uint8 [S, S, 3] RGB; to [H, W, 3] of a screen or a plain stream.

        picture_id: counts coded pictures; compared modulo 2**15. None: taken as the next one.
        Raises CodecError for damage, for a square picture larger than 1024 px (1920 px in a plain
        stream), for any other one larger than 1920 px, and before the first key frame; the decoder
        can be used on. A picture that is not square is a screen's (`video.desktop`).
        """
        if not 0 < len(data) <= MAX_PICTURE_BYTES:
            raise CodecError(f"a picture of {len(data)} bytes is not in 1..{MAX_PICTURE_BYTES}")
        self._notice_gap(picture_id)
        try:
            pictures = self._context.decode(av.Packet(data))
        except av.FFmpegError as error:
            self.intact = False
            self._context = _open_decoder(self.codec)
            raise CodecError(f"{self.codec} picture is damaged: {error}") from error
        if not pictures:
            self.intact = False
            raise CodecError(f"{self.codec} picture shows nothing (no key frame yet?)")
        picture = pictures[-1]
        least, most = sorted((picture.width, picture.height))
        largest = MAX_PLAIN_PX if self.plain else MAX_LR_PX if least == most else MAX_SCREEN_PX
        if least < 16 or most > largest:
            self.intact = False
            raise CodecError(
                f"a picture of {picture.width}x{picture.height} is not in 16..{largest} px"
            )
        if picture.key_frame:
            self._start(data)
        return from_video_frame(picture)

    def _start(self, keyframe: bytes) -> None:
        if self.codec == "av1":
            try:
                self.fovea = fovea.read(keyframe)
            except ValueError as error:
                self.intact = False
                raise CodecError(f"av1 key frame is damaged: {error}") from error
        self.intact = True

    def _notice_gap(self, picture_id: int | None) -> None:
        if picture_id is None:
            picture_id = 0 if self._last_id is None else self._last_id + 1
        elif self._last_id is not None and (picture_id - self._last_id - 1) % _PICTURE_ID_MODULUS:
            self.intact = False
        self._last_id = picture_id % _PICTURE_ID_MODULUS


def _open_encoder(rung: Rung, fps: Fraction) -> VideoCodecContext:
    library = _LIBRARIES[rung.codec]
    context = av.CodecContext.create(library.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = rung.size_px
    context.pix_fmt = "yuv420p"
    context.time_base = 1 / fps
    context.framerate = fps
    context.bit_rate = round(rung.video_kbps * 1000)
    context.gop_size = 1_000_000  # key frames only on demand: each costs a second of stream
    context.thread_count = 1
    context.options = library.encoder_options(rung)
    try:
        with library.opening():
            context.open()
    except av.FFmpegError as error:
        raise CodecError(f"cannot open a {rung.codec} encoder: {error}") from error
    return context


def _open_decoder(codec: LrCodec) -> VideoCodecContext:
    library = _LIBRARIES[codec]
    context = av.CodecContext.create(library.decoder, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = dict(library.decoder_options)
    return context
