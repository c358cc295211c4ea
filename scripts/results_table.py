"""A Markdown table from what `gemino evaluate --json` wrote.

gemino evaluate CLIPS/ --json figures.json
python scripts/results_table.py figures.json > table.md
"""

import argparse
import json
from pathlib import Path
from statistics import mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("figures", nargs="+", type=Path)
    arguments = parser.parse_args()
    clips = [clip for path in arguments.figures for clip in json.loads(path.read_text())["clips"]]
    clips.sort(key=lambda clip: clip["clip"])
    codecs = list(clips[0]["codecs"])
    print("| clip | " + " | ".join(f"{codec}: LPIPS | kbps" for codec in codecs) + " |")
    print("|---" * (2 * len(codecs) + 1) + "|")
    for clip in clips:
        found = [clip["codecs"][codec] for codec in codecs]
        cells = [f"{figures['lpips']:.3f} | {figures['payload_kbps']:.1f}" for figures in found]
        print(f"| {clip['clip']} | " + " | ".join(cells) + " |")
    means = [
        [mean(clip["codecs"][codec][figure] for clip in clips) for codec in codecs]
        for figure in ("lpips", "payload_kbps")
    ]
    cells = [f"**{lpips:.3f}** | {kbps:.1f}" for lpips, kbps in zip(*means, strict=True)]
    print("| **mean** | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
