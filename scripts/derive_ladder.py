"""The LR size that serves a model best at each rate, from measured curves, into its config.toml.

gemino evaluate CLIPS/ --size 512 --kbps 6,8,11,15,22,32,50,80 --every 20 --json sizes.json \\
    --codecs gemino-av1-64,gemino-av1-128,gemino-av1-192,gemino-av1-256,gemino-av1-512
python scripts/derive_ladder.py sizes.json models/generic-s

Take clips that the model was not trained on, but none that its figures are published for. Each
size's mean LPIPS is interpolated over the logarithm of the LR stream's rate; a step of the ladder
is where the lower envelope passes from one size to the next. The network is the same throughout.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np

from gemino import zoo
from gemino.config import LadderSteps, LrCodec
from gemino.evaluation import results
from gemino.evaluation.bench import Record

_PLACES = 400
_MARGIN = 0.002
"""LPIPS that a larger size must gain before it is taken: below that, smaller is cheaper."""

Curve = list[tuple[float, float]]
"""(LR kbps, LPIPS), means over all clips, by rising rate."""


def curves(found: results.Results, codec: LrCodec) -> dict[int, Curve]:
    """A curve for each LR size of `codec`; rates that not all clips have are left out."""
    by_size: dict[int, dict[float, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for point in found.points:
        if point.get("lr_codec") == codec:
            by_size[int(point["lr_px"])][float(point["asked_kbps"])].append(point)
    clips = len(found.clips())
    return {
        size: sorted(
            (fmean(p["lr_kbps"] for p in points), fmean(p["lpips"] for p in points))
            for points in rates.values()
            if len(points) == clips
        )
        for size, rates in sorted(by_size.items())
    }


def derive(measured: dict[int, Curve]) -> LadderSteps:
    """The steps of the lower envelope, sizes rising with the rate."""
    usable = {size: curve for size, curve in measured.items() if len(curve) > 1}
    if not usable:
        raise SystemExit("no LR size was measured at two rates on every clip")
    low = min(curve[0][0] for curve in usable.values())
    high = max(curve[-1][0] for curve in usable.values())
    steps: list[tuple[float, int]] = []
    for kbps in np.geomspace(low, high, _PLACES):
        best = _best(usable, float(kbps), steps[-1][1] if steps else 0)
        if not steps or best != steps[-1][1]:
            steps.append((round(float(kbps), 1) if steps else 0.0, best))
    return tuple(reversed(steps))


def _best(measured: dict[int, Curve], kbps: float, current: int) -> int:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("figures", type=Path)
    parser.add_argument("model", type=Path, help="folder of the model, whose config is rewritten")
    parser.add_argument("--codec", choices=("av1", "vp8"), default="av1")
    arguments = parser.parse_args()
    measured = curves(results.load(arguments.figures), arguments.codec)
    steps = derive(measured)
    for size, curve in measured.items():
        print(f"{size:4d} px: " + "  ".join(f"{kbps:.1f}: {lpips:.3f}" for kbps, lpips in curve))
    for kbps, size in steps:
        print(f"from {kbps:g} kbps: {size} px")
    files = zoo.find(arguments.model)
    ladders = {**files.ladders, arguments.codec: steps}
    zoo.write_config(files.path, files.config, files.facts, ladders)


if __name__ == "__main__":
    main()
