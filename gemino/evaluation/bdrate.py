"""How much less a codec spends for the same look: Bjontegaard's delta rate, on LPIPS.

Bjontegaard, VCEG-M33, 2001, with piecewise cubic interpolation (VCEG-AJ11), as the package
`bjontegaard` computes it: the mean difference of the logarithm of the rate over the qualities
that both curves reach. Quality is 1 - LPIPS. Points that cost more than another one and look no
better are left out, so that each quality has one rate.
"""

import importlib.util
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from gemino.errors import RuntimeUnavailable

Kind = Literal["mean", "at one quality", "at most", "at least"]


class Point(NamedTuple):
    """One point of a curve."""

    kbps: float
    lpips: float


class BdRate(NamedTuple):
    """The rate that a codec takes more (less: negative) than an anchor, in per cent.

    kind: a true `mean` over common qualities; `at one quality`, where they share only one; or a
    bound where they share none: `at most` so much for a codec whose worst looks better than the
    anchor's best, `at least` for the reverse. overlap: common qualities, as a share of all those
    that either reaches.
    """

    percent: float
    kind: Kind
    overlap: float


def available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("bjontegaard") is not None


def bd_rate(anchor: Iterable[Point], test: Iterable[Point]) -> BdRate | None:
    """The delta rate of `test` against `anchor`; None where one of them has no points.

    Raises RuntimeUnavailable without the package `bjontegaard`.
    """
    old, new = frontier(anchor), frontier(test)
    if not old or not new:
        return None
    low = max(old[-1].lpips, new[-1].lpips)
    high = min(old[0].lpips, new[0].lpips)
    if low > high:
        if new[0].lpips < old[-1].lpips:
            return BdRate(_percent(new[0].kbps / old[-1].kbps), "at most", 0.0)
        return BdRate(_percent(new[-1].kbps / old[0].kbps), "at least", 0.0)
    if low == high or len(old) < 2 or len(new) < 2:
        ratio = _rate_at(new, low) / _rate_at(old, low)
        return BdRate(_percent(ratio), "at one quality", 0.0)
    widest = max(old[0].lpips, new[0].lpips) - min(old[-1].lpips, new[-1].lpips)
    return BdRate(_mean(old, new), "mean", (high - low) / widest)


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that look better than every cheaper one, by rising rate."""
    best: list[Point] = []
    for point in sorted(points):
        if not best or point.lpips < best[-1].lpips:
            best.append(point)
    return best


def _mean(anchor: Sequence[Point], test: Sequence[Point]) -> float:
    try:
        import bjontegaard
    except ImportError as error:
        raise RuntimeUnavailable(
            "BD-rate needs the package bjontegaard: pip install 'gemino[evaluation]'"
        ) from error
    (old_kbps, old_quality), (new_kbps, new_quality) = map(_columns, (anchor, test))
    return float(
        bjontegaard.bd_rate(
            old_kbps,
            old_quality,
            new_kbps,
            new_quality,
            method="pchip",
            require_matching_points=False,
            min_overlap=0,
        )
    )


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p.kbps for p in points], [1 - p.lpips for p in points]


def _rate_at(points: Sequence[Point], lpips: float) -> float:
    """The rate at which a frontier reaches `lpips`, interpolated between its neighbours."""
    after = next(at for at, point in enumerate(points) if point.lpips <= lpips)
    if after == 0 or points[after].lpips == lpips:
        return points[after].kbps
    worse, better = points[after - 1], points[after]
    share = (worse.lpips - lpips) / (worse.lpips - better.lpips)
    logs = math.log(worse.kbps), math.log(better.kbps)
    return math.exp(logs[0] + share * (logs[1] - logs[0]))


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)
