"""The LR size that serves a model best at each rate, from measured curves, into its config.toml.

gemino evaluate CLIPS/ --size 512 --kbps 6,8,11,15,22,32,50,80 --every 20 --json sizes.json \\
    --codecs gemino-av1-64,gemino-av1-128,gemino-av1-192,gemino-av1-256,gemino-av1-512
python scripts/derive_ladder.py sizes.json models/generic-s

Several files of figures count as one, of all clips that are measured at the same rates. Take clips
that the model was not trained on, but none that its figures are published for.
"""

import argparse
from pathlib import Path

from gemino import zoo
from gemino.cli.edge import guard
from gemino.evaluation import ladders, results


def main() -> None:
    """Read the options, derive, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "figures", type=Path, nargs="+", help="what gemino evaluate --json has written"
    )
    parser.add_argument("model", type=Path, help="folder of the model, whose config is rewritten")
    parser.add_argument("--codec", choices=("av1", "vp8"), default="av1", help="whose ladder")
    arguments = parser.parse_args()
    found = [results.load(path) for path in arguments.figures]
    measured = ladders.curves(found, arguments.codec)
    steps = ladders.derive(measured)
    files = zoo.find(arguments.model)
    each = {**files.ladders, arguments.codec: steps}
    zoo.write_config(files.path, files.config, files.facts, each)
    for size, curve in measured.items():
        print(f"{size:4d} px: " + "  ".join(f"{kbps:.1f}: {lpips:.3f}" for kbps, lpips in curve))
    for kbps, size in steps:
        print(f"from {kbps:g} kbps: {size} px")


if __name__ == "__main__":
    guard(main)
