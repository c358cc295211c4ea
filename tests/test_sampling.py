import numpy as np
import pytest

from gemino.config import Fovea, Rung, Sampling
from gemino.frames import Frame, resize
from gemino.sampling import glimpse, shrink, straighten

FOVEA = Fovea(16, 14, 6)


def texture(side: int, seed: int = 0) -> Frame:
    """Detail of some eight pixels, as of a face at that size."""
    noise = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    return resize(noise, side)


def error(a: Frame, b: Frame) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


def test_without_a_fovea_it_is_the_ordinary_resize() -> None:
    picture = texture(512)
    assert np.array_equal(shrink(picture, Sampling(128)), resize(picture, 128))
    small = resize(picture, 128)
    assert straighten(small, None) is small


def test_the_fovea_is_sharper_and_the_rim_softer() -> None:
    picture = texture(512)
    even, closer = (glimpse(picture, Sampling(64, fovea)) for fovea in (None, FOVEA))
    even, wanted = resize(even, 128), resize(picture, 128)
    assert closer.shape == wanted.shape
    face = np.s_[40:72, 48:80]  # within the fovea: 8/32 to 20/32 down, 10/32 to 22/32 across
    rim = np.s_[104:128, :]
    assert error(closer[face], wanted[face]) < 0.5 * error(even[face], wanted[face])
    assert error(closer[rim], wanted[rim]) > error(even[rim], wanted[rim])


@pytest.mark.parametrize("fovea", [FOVEA, Fovea(0, 0, 12), Fovea(32, 32, 2), Fovea(5, 30, 9)])
@pytest.mark.parametrize("side", [256, 512, 1024])
def test_what_is_smooth_comes_back_where_it_was(fovea: Fovea, side: int) -> None:
    """No fovea moves, mirrors or tints anything."""
    down, across = np.mgrid[0:side, 0:side] / side * 200 + 20
    picture = np.stack([down, across, (down + across) / 2], axis=2).astype(np.uint8)
    back = glimpse(picture, Sampling(128, fovea))
    inner = np.s_[4:-4, 4:-4]
    assert np.abs(back.astype(int) - resize(picture, 256))[inner].max() <= 3


def test_one_colour_stays_that_colour() -> None:
    picture = np.full((512, 512, 3), (200, 31, 7), np.uint8)
    assert np.ptp(glimpse(picture, Sampling(128, FOVEA)), axis=(0, 1)).max() == 0
    assert tuple(glimpse(picture, Sampling(128, FOVEA))[0, 0]) == (200, 31, 7)


@pytest.mark.parametrize("place", [(-1, 0, 5), (0, 33, 5), (16, 16, 1), (16, 16, 13)])
def test_a_fovea_out_of_bounds_cannot_exist(place: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="fovea"):
        Fovea(*place)


def test_only_av1_has_a_fovea() -> None:
    with pytest.raises(ValueError, match="AV1"):
        Rung("vp8", 128, 12.0, FOVEA)
