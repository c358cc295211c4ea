import math

import pytest

from gemino.evaluation.bdrate import BdRate, Point, bd_rate, frontier

CURVE = [Point(10, 0.20), Point(20, 0.12), Point(40, 0.07), Point(80, 0.045)]


def rounded(rate: BdRate | None) -> BdRate | None:
    return rate and rate._replace(percent=round(rate.percent, 6))


def scaled(factor: float) -> list[Point]:
    return [Point(kbps * factor, lpips) for kbps, lpips in CURVE]


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 2.0])
def test_a_curve_at_a_multiple_of_the_rate_has_that_delta(factor: float) -> None:
    found = bd_rate(CURVE, scaled(factor))
    assert found is not None
    assert found.kind == "mean"
    assert found.percent == pytest.approx(100 * (factor - 1), abs=1e-6)
    assert found.overlap == pytest.approx(1)


def test_a_straight_line_is_integrated_by_hand() -> None:
    # The logarithm of the rate is linear in quality, and the test's slope is half the anchor's.
    anchor = [Point(10 ** (1 + at), 0.3 - 0.1 * at) for at in range(3)]
    test = [Point(10 ** (1 + at / 2), 0.3 - 0.1 * at) for at in range(3)]
    found = bd_rate(anchor, test)
    assert found is not None
    assert found.percent == pytest.approx(100 * (10**-0.5 - 1), abs=1e-6)


def test_a_point_that_costs_more_and_looks_no_better_is_left_out() -> None:
    worse = [*CURVE, Point(30, 0.13), Point(90, 0.045)]
    assert frontier(worse) == CURVE
    assert bd_rate(CURVE, worse) == bd_rate(CURVE, CURVE)


def test_only_common_qualities_count() -> None:
    found = bd_rate(CURVE, scaled(0.5)[2:])
    assert found is not None
    assert found.percent == pytest.approx(-50, abs=12)  # another interpolation, the same trend
    assert found.overlap == pytest.approx((0.07 - 0.045) / (0.20 - 0.045))


def test_curves_without_a_common_quality_give_a_bound() -> None:
    better = [Point(8, 0.04), Point(16, 0.02)]
    assert rounded(bd_rate(CURVE, better)) == BdRate(-90, "at most", 0)
    assert rounded(bd_rate(better, CURVE)) == BdRate(900, "at least", 0)


def test_a_floor_is_one_point_and_compared_there() -> None:
    assert rounded(bd_rate([Point(80, 0.12)], CURVE)) == BdRate(-75, "at one quality", 0)
    middle = math.sqrt(20 * 40)
    expected = BdRate(round(100 * (middle / 80 - 1), 6), "at one quality", 0)
    assert rounded(bd_rate([Point(80, 0.095)], CURVE)) == expected


def test_nothing_is_compared_with_nothing() -> None:
    assert bd_rate([], CURVE) is None
    assert bd_rate(CURVE, []) is None
