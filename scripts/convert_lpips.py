"""Write LPIPS weights kept as NumPy's .npz as model.safetensors.

    python scripts/convert_lpips.py SRC.npz models/lpips-alex/model.safetensors

The source holds, by torchvision's names, a backbone's `features.N.weight` and `.bias`, and the
heads of LPIPS v0.1 as `linK.weight`. Prints the SHA-256 that `gemino.evaluation.metrics` pins.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gemino.cli.edge import guard

_SOURCE = "https://github.com/richzhang/PerceptualSimilarity"


def convert(source: Path, destination: Path) -> str:
    """Write `destination` from `source`; return its SHA-256 in hex."""
    with np.load(source, allow_pickle=False) as archive:
        tensors = {name: np.ascontiguousarray(archive[name]) for name in archive.files}
    save_file(tensors, destination, metadata={"format": "pt", "source": _SOURCE})
    return hashlib.sha256(destination.read_bytes()).hexdigest()


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description="LPIPS weights: .npz to .safetensors")
    parser.add_argument("source", type=Path, metavar="SRC.npz")
    parser.add_argument("destination", type=Path, metavar="DST.safetensors")
    arguments = parser.parse_args()
    print(convert(arguments.source, arguments.destination))


if __name__ == "__main__":
    guard(main)
