"""Frames: crop, resize, and colours that survive YUV."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from gemino.frames import Frame, crop_square, from_video_frame, prepare, resize, to_video_frame

# RGB -> BT.601 limited-range YUV, from the equations of ITU-R BT.601-7, section 2.5.
BT601 = {
    (255, 255, 255): (235, 128, 128),
    (0, 0, 0): (16, 128, 128),
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
}


def flat(colour: tuple[int, int, int], side: int = 64) -> Frame:
    return np.full((side, side, 3), colour, np.uint8)


@pytest.mark.parametrize(("shape", "side"), [((90, 160), 90), ((161, 90), 90), ((7, 7), 7)])
def test_crop_square_takes_the_centre(shape: tuple[int, int], side: int) -> None:
    frame = np.zeros((*shape, 3), np.uint8)
    frame[shape[0] // 2, shape[1] // 2] = 255
    square = crop_square(frame)
    assert square.shape == (side, side, 3)
    assert square[side // 2, side // 2].min() == 255


def test_resize_averages_areas_when_shrinking() -> None:
    checkerboard = np.indices((64, 64)).sum(0) % 2 * 200
    frame = np.repeat(checkerboard[:, :, None], 3, 2).astype(np.uint8)
    assert np.all(resize(frame, 16) == 100)  # nearest-neighbour would give 0 or 200


def test_resize_to_the_same_size_is_the_identity() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(resize(frame, 32), frame)


@pytest.mark.parametrize("shape", [(33, 47), (1080, 1920), (480, 480), (1, 1)])
def test_prepare_takes_any_aspect_and_odd_sizes(shape: tuple[int, int]) -> None:
    assert prepare(np.zeros((*shape, 3), np.uint8), 128).shape == (128, 128, 3)


@pytest.mark.parametrize(("rgb", "yuv"), BT601.items())
def test_yuv_is_bt601_limited(rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    picture = to_video_frame(flat(rgb), pts=3, time_base=Fraction(1, 30))
    planes = picture.to_ndarray()
    found = planes[0, 0], planes[64, 0], planes[80, 0]
    assert np.abs(np.subtract(np.array(found, np.int16), yuv)).max() <= 1
    assert picture.color_range == ColorRange.MPEG
    assert (picture.pts, picture.time_base) == (3, Fraction(1, 30))


@pytest.mark.parametrize("rgb", BT601)
def test_colours_survive_the_way_there_and_back(rgb: tuple[int, int, int]) -> None:
    back = from_video_frame(to_video_frame(flat(rgb)))
    assert np.abs(back.astype(int) - rgb).max() <= 4


@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("reach", [ColorRange.MPEG, ColorRange.JPEG])
def test_a_stated_matrix_and_range_are_believed(matrix: Colorspace, reach: ColorRange) -> None:
    rgb = (200, 40, 90)
    picture = av.VideoFrame.from_ndarray(flat(rgb), format="rgb24").reformat(
        format="yuv444p10le", dst_colorspace=matrix, dst_color_range=reach
    )
    assert np.abs(from_video_frame(picture).astype(int) - rgb).max() <= 3
