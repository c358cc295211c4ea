"""The reference: one high-resolution picture to bytes and back.

One tag byte names the still codec, the rest is its bitstream. The codec is AV1 (SVT-AV1 encodes
an intra picture, dav1d decodes): of all that PyAV offers the best LPIPS at 5, 12 and 20 kB, and
within a twentieth of the best (VP9, which cannot reach 5 kB) at 8 kB. The measurement is in
docs/reference-picture.md; scripts/compare_still_codecs.py repeats it.
"""

import logging
import math
from fractions import Fraction
from typing import Literal

import av
from av.video.codeccontext import VideoCodecContext

from gemino.errors import CodecError
from gemino.frames import Frame, from_video_frame, to_video_frame
from gemino.svtav1 import quiet_svt_av1
from gemino.video.guard import within

logger = logging.getLogger(__name__)

_TAG_AV1 = 1
MAX_REFERENCE_BYTES = 1_000_000
MIN_REFERENCE_PX = 64
MAX_REFERENCE_PX = 1024

_PRESET = "6"
Fineness = Literal["plain", "fine", "finest"]
_FINEST_CRF: dict[Fineness, int] = {"plain": 40, "fine": 34, "finest": 26}
"""Where a picture is good enough. Only plain ones get there; others reach their budget before."""
_COARSEST_CRF = 60
_CRF_START = 46
_CRF_PER_HALVING = 10.0
"""Measured slope: ten steps of CRF halve the bytes of a head-and-shoulders picture."""
_SEARCH_STEPS = 5
_STALLED_S = 10.0
"""The encoder may stall (`video.av1`); no honest picture takes a tenth of that."""


class PictureEncoder:
    """Codes pictures of one scene; where the last one's search ended, the next one's begins.

    That spares most of the tries, each of which takes a core for several frames' time.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._crf = _CRF_START
        self._finest_crf = _FINEST_CRF["plain"]
        self._enough = 0.9

    @property
    def finest(self) -> bool:
        """Whether more bytes would have made the last picture no better."""
        return self._crf == self._finest_crf

    def encode(self, frame: Frame, fineness: Fineness = "fine") -> bytes:
        """Code `frame`, uint8 [S, S, 3] RGB with even S in 64..1024, as well as fits, but no better
        than `fineness` asks for.

        A picture too rich for `max_bytes` even at the coarsest quantiser is returned larger than
        asked: a call without a reference would be worse. Raises ValueError for another shape,
        CodecError where the codec fails.
        """
        side = frame.shape[0]
        if (
            frame.shape != (side, side, 3)
            or side % 2
            or not MIN_REFERENCE_PX <= side <= MAX_REFERENCE_PX
        ):
            raise ValueError(f"a reference is square, even, 64..1024 px, not {list(frame.shape)}")
        self._finest_crf = _FINEST_CRF[fineness]
        # Invariant: what is finer than `low` is too large, what is coarser than `high` fits.
        low, high = self._finest_crf, _COARSEST_CRF
        crf, best, self._enough, enough = max(self._crf, low), b"", 0.75, self._enough
        for _ in range(_SEARCH_STEPS):
            data = _encode_av1(frame, crf)
            if len(data) <= self.max_bytes:
                best, high, self._crf = data, crf - 1, crf
            else:
                low = crf + 1
            if low > high or enough * self.max_bytes <= len(data) <= self.max_bytes:
                break
            step = round(_CRF_PER_HALVING * math.log2(len(data) / (0.95 * self.max_bytes)))
            # A step of one towards a smaller picture may fall short again and again.
            crf = min(max(crf + (max(step, 2) if step >= 0 else step), low), high)
        return best or _encode_av1(frame, _COARSEST_CRF)


def encode_picture(frame: Frame, max_bytes: int) -> bytes:
    """One picture alone; see `PictureEncoder.encode`."""
    return PictureEncoder(max_bytes).encode(frame)


def decode_picture(data: bytes, max_px: int = MAX_REFERENCE_PX) -> Frame:
    """The picture in `data` as uint8 [S, S, 3] RGB.

    Raises CodecError for damage, an unknown codec, and a picture that is not square or larger
    than `max_px`: what arrives from a peer decides nothing about our memory.
    """
    if not 2 <= len(data) <= MAX_REFERENCE_BYTES:
        raise CodecError(f"a reference of {len(data)} bytes is not in 2..{MAX_REFERENCE_BYTES}")
    if data[0] != _TAG_AV1:
        raise CodecError(f"reference is of unknown codec {data[0]}; a newer peer?")
    context = av.CodecContext.create("libdav1d", "r")
    assert isinstance(context, VideoCodecContext)
    # dav1d refuses larger pictures before it allocates them.
    context.options = {"max_pixels": str(max_px * max_px), "framethreads": "1", "tilethreads": "1"}
    try:
        pictures = context.decode(av.Packet(data[1:])) + context.decode(None)
    except av.FFmpegError as error:
        raise CodecError(f"reference is damaged: {error}") from error
    if len(pictures) != 1:
        raise CodecError(f"reference holds {len(pictures)} pictures, not one")
    width, height = pictures[0].width, pictures[0].height
    if width != height or not MIN_REFERENCE_PX <= width <= max_px:
        raise CodecError(f"reference of {width}x{height} is not square, 64..{max_px} px")
    return from_video_frame(pictures[0])


def _encode_av1(frame: Frame, crf: int) -> bytes:
    try:
        return _try_av1(frame, crf)
    except TimeoutError:
        logger.warning("the encoder of references stalled and is replaced")
    try:
        return _try_av1(frame, crf)
    except TimeoutError as error:
        raise CodecError(f"reference cannot be coded: {error}") from error


def _try_av1(frame: Frame, crf: int) -> bytes:
    context = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = frame.shape[0]
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1)
    context.framerate = Fraction(1)
    context.options = {
        "preset": _PRESET,
        "crf": str(crf),
        # One thread, beside a call; tuned for stills: a sixth less LPIPS than tuned for PSNR.
        "svtav1-params": "lp=1:tune=3",
    }
    try:
        with quiet_svt_av1():
            context.open()
        picture = to_video_frame(frame, 0, Fraction(1))
        packets = within(_STALLED_S, lambda: context.encode(picture) + context.encode(None))
    except av.FFmpegError as error:
        raise CodecError(f"reference cannot be coded: {error}") from error
    return bytes([_TAG_AV1]) + b"".join(bytes(packet) for packet in packets)
