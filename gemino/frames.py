"""What a frame is, and the one way to crop, resize and convert it.

A frame is `uint8 [H, W, 3]`, RGB, full range (0..255). Where we make YUV it is BT.601, limited
range (16..235), 4:2:0: what libvpx streams and WebRTC receivers assume when nothing is said.
"""

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


def crop_square(frame: Frame) -> Frame:
    """The largest centred square of `frame` [H, W, 3]."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frame[top : top + side, left : left + side]


def resize(frame: Frame, size_px: int) -> Frame:
    """`frame` at [size_px, size_px, 3]: area averaging when shrinking, cubic when growing.

    Encoder, decoder, training and evaluation all resample here and nowhere else, so that the
    network never meets a downsampling that it was not trained on.
    """
    height, width = frame.shape[:2]
    if (height, width) == (size_px, size_px):
        return frame
    shrinks = min(height, width) >= size_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, (size_px, size_px), interpolation=how), np.uint8)


def prepare(frame: Frame, size_px: int) -> Frame:
    """A camera's or clip's frame of any aspect as the square one that a call carries."""
    return resize(crop_square(frame), size_px)


def letterbox(frame: Frame) -> Frame:
    """The whole of `frame`, of any aspect, in a square: black above and below, or at the sides."""
    height, width = frame.shape[:2]
    side = max(height, width)
    if height == width:
        return frame
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = frame
    return square


def to_video_frame(
    frame: Frame, pts: int | None = None, time_base: Fraction | None = None
) -> av.VideoFrame:
    """`frame` (even sides) as a yuv420p, BT.601, limited-range picture for an encoder."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    picture.pts = pts
    if time_base is not None:
        picture.time_base = time_base
    return picture


# AVColorSpace, as the stream states it, to the swscale matrix that PyAV converts with.
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


def from_video_frame(picture: av.VideoFrame) -> Frame:
    """A decoded picture of any pixel format, matrix and range as a frame.

    A picture that does not state its matrix is taken as BT.601 below 720 lines and as BT.709 from
    there on, as players do; one that does not state its range is taken as limited, unless its
    pixel format (yuvj420p) implies the full one.
    """
    by_size = Colorspace.ITU709 if picture.height >= 720 else Colorspace.ITU601
    rgb = picture.to_ndarray(
        format="rgb24", src_colorspace=_MATRIX.get(int(picture.colorspace), by_size)
    )
    return np.asarray(rgb, np.uint8)
