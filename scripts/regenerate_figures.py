"""Measure the shipped samples anew and make that what the tests expect.

python scripts/regenerate_figures.py

Run it, and look at what changed, after a change of the model or of a codec; the figures are in
tests/vectors/figures.json. Tests measure in the same way and compare with a tolerance.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gemino.cli.edge import guard
from gemino.evaluation import results
from gemino.zoo import DEFAULT_MODEL

_ROOT = Path(__file__).parents[1]
_EXPECTED = _ROOT / "tests" / "vectors" / "figures.json"
# Short enough for a test, long enough for the reference to cross.
_WHAT = {
    "codecs": "gemino,bicubic,vp8,vp9,av1",
    "model": DEFAULT_MODEL,
    "size": 512,
    "kbps": 20.0,
    "every": 15,
    "seconds": 1.0,
    "play_s": 4.0,
}
_KEPT = (
    *("clip", "codec", "model_sha256", "floor", "payload_kbps", "onwire_kbps", "lpips"),
    *("lpips_worst5", "lpips_mouth", "lpips_eyes", "psnr_db", "ssim", "flicker", "startup_s"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.parse_args()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in _WHAT.items()]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        program = "from gemino.cli.main import main; main()"
        command = [sys.executable, "-c", program, "evaluate", str(_ROOT / "samples"), *options]
        done = subprocess.run([*command, "--json", str(path)], check=False)
        if not path.exists():
            sys.exit(done.returncode)
        points = results.load(path).points
    kept = [{name: point.get(name) for name in _KEPT} for point in points]
    _EXPECTED.write_text(json.dumps({"what": _WHAT, "points": kept}, indent=1) + "\n")
    print(f"{_EXPECTED}: {len(kept)} points; look at `git diff` before you commit them")
    sys.exit(done.returncode)


if __name__ == "__main__":
    guard(main)
