"""The ladder that serves a model best, from measured curves of each LR size.

Each size's mean LPIPS is interpolated over the logarithm of the LR stream's rate; a step of the
ladder is where the lower envelope passes from one size to the next.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import fmean

import numpy as np

from gemino.config import LadderSteps, LrCodec
from gemino.errors import MediaError
from gemino.evaluation.bench import Record
from gemino.evaluation.results import Results

_PLACES = 400
_MARGIN = 0.001
"""LPIPS that a larger size must gain before it is taken: below that, smaller is cheaper."""

_NARROWEST = 1.2
"""A size that serves rates up to so many times its least is left out: changes cost key frames."""

Curve = list[tuple[float, float]]
"""(LR kbps, LPIPS), means over all clips, by rising rate."""


def curves(found: Sequence[Results], codec: LrCodec) -> dict[int, Curve]:
    """A curve for each LR size of `codec`; rates that not all clips have are left out."""
    by_size: dict[int, dict[float, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for point in chain.from_iterable(each.points for each in found):
        if point.get("lr_codec") == codec:
            by_size[int(point["lr_px"])][float(point["asked_kbps"])].append(point)
    clips = len({clip for each in found for clip in each.clips()})
    return {
        size: sorted(
            (fmean(p["lr_kbps"] for p in points), fmean(p["lpips"] for p in points))
            for points in rates.values()
            if len(points) == clips
        )
        for size, rates in sorted(by_size.items())
    }


def derive(measured: Mapping[int, Curve]) -> LadderSteps:
    """The steps of the lower envelope, sizes rising with the rate.

    In whole kbps, rounded down: an encoder exceeds what it is asked for, which is what a ladder is
    looked up by, by some percent. measured: a curve for each LR size in px. Raises MediaError where
    none has two rates.
    """
    usable = {size: curve for size, curve in measured.items() if len(curve) > 1}
    if not usable:
        raise MediaError("no LR size was measured at two rates on every clip")
    low = usable[min(usable)][0][0]  # below, nothing says that the smallest is not the best
    high = max(curve[-1][0] for curve in usable.values())
    steps = [(0.0, min(usable))]
    for kbps in np.geomspace(low, high, _PLACES):
        best = _best(usable, float(kbps), steps[-1][1])
        if best == steps[-1][1]:
            continue
        if len(steps) > 1 and kbps < _NARROWEST * steps[-1][0]:
            steps.pop()
        steps.append((float(math.floor(kbps)), best))
    return tuple(reversed(steps))


def _best(measured: Mapping[int, Curve], kbps: float, current: int) -> int:
    """The size with the least LPIPS at `kbps`, among those that go so low; never a smaller one."""
    reached = {
        size: float(np.interp(np.log(kbps), *np.array([(np.log(x), y) for x, y in curve]).T))
        for size, curve in measured.items()
        if size >= current and kbps >= curve[0][0] * 0.98
    }
    if not reached:
        return current or min(measured)
    least = min(reached.values())
    return min(size for size, lpips in reached.items() if lpips <= least + _MARGIN)
