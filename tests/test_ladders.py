"""The ladder that is made of measured curves."""

import pytest

from gemino.errors import MediaError
from gemino.evaluation.ladders import Curve, curves, derive
from gemino.evaluation.results import Results


def measured(rates: dict[str, list[float]], px: int, lpips: float) -> Results:
    """Points of clips at rates; the LPIPS falls with the rate."""
    points = [
        {
            "clip": clip,
            "lr_codec": "av1",
            "lr_px": px,
            "asked_kbps": kbps,
            "lr_kbps": kbps,
            "lpips": lpips / kbps,
        }
        for clip, each in rates.items()
        for kbps in each
    ]
    return Results({}, points)


def test_a_rate_counts_where_all_clips_of_all_files_have_it() -> None:
    files = [measured({"a": [10, 20]}, 128, 1), measured({"b": [10, 20, 40]}, 128, 3)]
    found = curves(files, "av1")
    assert list(found) == [128]
    assert found[128] == [pytest.approx((10, 0.2)), pytest.approx((20, 0.1))]
    assert curves(files, "vp8") == {}


def test_each_size_is_taken_where_it_is_the_best() -> None:
    small: Curve = [(6, 0.09), (12, 0.07), (40, 0.06)]
    middle: Curve = [(5, 0.12), (12, 0.06), (40, 0.05)]
    large: Curve = [(12, 0.10), (40, 0.03)]
    steps = derive({64: small, 128: middle, 256: large})
    assert [px for _, px in steps] == [256, 128, 64]
    assert steps[-1][0] == 0
    assert 6 < steps[1][0] < 12 < steps[0][0] < 40


def test_a_gain_that_nobody_sees_is_not_worth_a_larger_size() -> None:
    steps = derive({128: [(6, 0.09), (40, 0.05)], 256: [(6, 0.0895), (40, 0.0495)]})
    assert steps == ((0.0, 128),)


def test_a_size_for_hardly_any_rate_is_left_out() -> None:
    small: Curve = [(5, 0.10), (10, 0.05), (11, 0.05), (50, 0.05)]
    middle: Curve = [(5, 0.20), (10, 0.051), (11, 0.047), (50, 0.047)]
    large: Curve = [(5, 0.30), (10, 0.060), (11, 0.046), (50, 0.02)]
    assert [px for _, px in derive({128: small, 192: middle, 256: large})] == [256, 128]


def test_curves_of_one_rate_give_no_ladder() -> None:
    with pytest.raises(MediaError, match="two rates"):
        derive({128: [(6, 0.09)]})
