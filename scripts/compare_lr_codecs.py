"""Which codec carries the LR stream best: PSNR at equal bits.

    python scripts/compare_lr_codecs.py samples/webcam.mp4 samples/address.mp4 > docs/lr-codecs.md

Codes the first seconds of every clip with each LR codec at several sizes and bitrates, through the
very encoder and decoder of a call, and prints a Markdown table: what bitrate came out, the PSNR of
the small picture once the rate control has settled, and the CPU time of a picture.
"""

import argparse
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np

from gemino import media
from gemino.cli.edge import guard
from gemino.config import LrCodec, Rung
from gemino.evaluation.metrics import psnr
from gemino.frames import Frame, prepare
from gemino.video.lr import LrDecoder, LrEncoder

POINTS = ((128, 7.0), (128, 10.0), (128, 15.0), (192, 15.0), (256, 25.0))
_SECONDS = 8
_SETTLING_S = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over a clip; ms of CPU time for encoding and decoding one picture."""

    kbps: float
    psnr_db: float
    ms: float


def code(frames: list[Frame], fps: Fraction, rung: Rung) -> Figures:
    """What becomes of `frames`, [s, s, 3] each, in one stream."""
    encoder, decoder = LrEncoder(rung, fps), LrDecoder(rung.codec)
    start = time.process_time()
    sizes, shown = [], []
    for frame in frames:
        coded = encoder.encode(frame)
        sizes.append(len(coded.data))
        shown.append(decoder.decode(coded.data))
    ms = (time.process_time() - start) * 1000 / len(frames)
    settled = round(_SETTLING_S * fps)
    pairs = list(zip(frames, shown, strict=True))[settled:]
    kbps = float(np.mean(sizes[settled:])) * 8 / 1000 * float(fps)
    return Figures(kbps, float(np.mean([psnr(a, b) for a, b in pairs])), ms)


def _cell(made: list[Figures]) -> str:
    db = np.mean([figures.psnr_db for figures in made])
    rate = np.mean([figures.kbps for figures in made])
    ms = np.mean([figures.ms for figures in made])
    return f"{db:.2f} dB at {rate:.1f}, {ms:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", nargs="+", type=Path)
    arguments = parser.parse_args()
    names = ", ".join(clip.stem for clip in arguments.clips)
    print("# The codec of the LR stream\n")
    print(
        f"PSNR of the small picture at the kbps that came out, and milliseconds of CPU time for "
        f"coding and decoding one picture; means over {names}, the first {_SECONDS} seconds. "
        "Made by `scripts/compare_lr_codecs.py`.\n"
    )
    codecs: tuple[LrCodec, ...] = get_args(LrCodec)
    print("| px, kbps asked | " + " | ".join(codec.upper() for codec in codecs) + " |")
    print("|---" * (len(codecs) + 1) + "|")
    for px, kbps in POINTS:
        cells = []
        for codec in codecs:
            made = []
            for clip in arguments.clips:
                fps = media.probe(clip).fps
                first = islice(media.read_frames(clip), round(_SECONDS * fps))
                small = [prepare(timed.frame, px) for timed in first]
                made.append(code(small, fps, Rung(codec, px, kbps)))
            cells.append(_cell(made))
        print(f"| {px}, {kbps:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    guard(main)
