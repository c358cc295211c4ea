"""Markdown tables from what `gemino evaluate --json` wrote, as in docs/results.md.

gemino evaluate CLIPS/ --kbps 6,10,15,25,40,80 --json figures.json
python scripts/results_table.py figures.json > tables.md
"""

import argparse
from pathlib import Path

from gemino.cli.edge import guard
from gemino.evaluation import results, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--kbps", type=float, help="rate of the tables by clip  [15 or the lowest]")
    parser.add_argument("--bd-kbps", type=float, nargs=2, default=(8, 40), metavar=("LOW", "HIGH"))
    arguments = parser.parse_args()
    found = results.load(arguments.figures)
    rates = found.rates()
    kbps = arguments.kbps or (15.0 if 15.0 in rates else min(rates))
    for size in found.sizes():
        print(tables.means(found, size).markdown())
        for table in tables.bd_rates(found, size, *arguments.bd_kbps):
            print(table.markdown())
        print(tables.clips(found, size, kbps).markdown())


if __name__ == "__main__":
    guard(main)
