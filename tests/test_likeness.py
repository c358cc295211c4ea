"""Thumbnails: alike whatever the exposure, unlike from pose to pose."""

import numpy as np

from gemino.likeness import THUMBNAIL_PX, difference, thumbnail

STRIPES = np.repeat(np.arange(0, 160, 10, dtype=np.uint8), 8)[None, :, None].repeat(128, 0)
PICTURE = STRIPES.repeat(3, 2)


def test_a_thumbnail_has_no_mean_and_costs_no_exposure() -> None:
    assert thumbnail(PICTURE).shape == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
    assert np.abs(thumbnail(PICTURE).mean(axis=(0, 1))).max() < 1e-4
    assert difference(thumbnail(PICTURE), thumbnail(PICTURE + 40)) < 1e-4


def test_the_difference_grows_as_a_picture_moves_away() -> None:
    here = thumbnail(PICTURE)
    moved = [difference(here, thumbnail(np.roll(PICTURE, by, axis=1))) for by in (0, 4, 8, 16)]
    assert moved == sorted(moved)
    assert moved[0] == 0 < moved[1]


def test_sizes_do_not_matter() -> None:
    large = PICTURE.repeat(4, 0).repeat(4, 1)
    assert difference(thumbnail(PICTURE), thumbnail(large)) < 1e-4
