"""Which still codec carries a reference best: LPIPS at equal bytes.

    python scripts/compare_still_codecs.py CLIP... --size 512 > docs/reference-picture.md

Codes the first picture of every clip with each still codec that PyAV offers, at the quality that
comes closest to each size in bytes, and prints a Markdown table of mean LPIPS (AlexNet).
"""

import argparse
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from gemino import media
from gemino.cli.edge import guard
from gemino.evaluation.metrics import lpips
from gemino.frames import Frame, from_video_frame, prepare, to_video_frame
from gemino.runtime.perceptual import load_lpips
from gemino.svtav1 import quiet_svt_av1

BUDGETS = (5_000, 8_000, 12_000, 20_000)
_STEPS = 7

# Codec: (encoder, decoder, pixel format, coarsest and finest quality, options for a quality).
_Options = Callable[[int], dict[str, str]]
CODECS: dict[str, tuple[str, str, str, tuple[int, int], _Options]] = {
    "AV1 (SVT-AV1 preset 6, tuned for stills)": (
        "libsvtav1",
        "libdav1d",
        "yuv420p",
        (63, 4),
        lambda q: {"crf": str(q), "preset": "6", "svtav1-params": "lp=1:tune=3"},
    ),
    "AV1 (SVT-AV1 preset 6, tuned for PSNR)": (
        "libsvtav1",
        "libdav1d",
        "yuv420p",
        (63, 4),
        lambda q: {"crf": str(q), "preset": "6", "svtav1-params": "lp=1:tune=1"},
    ),
    "VP9 (good, speed 1)": (
        "libvpx-vp9",
        "libvpx-vp9",
        "yuv420p",
        (63, 4),
        lambda q: {
            "crf": str(q),
            "b": "0",
            "deadline": "good",
            "cpu-used": "1",
            "lag-in-frames": "0",
        },
    ),
    "WebP (method 6)": (
        "libwebp",
        "webp",
        "yuv420p",
        (1, 98),
        lambda q: {"quality": str(q), "compression_level": "6", "preset": "photo"},
    ),
    "JPEG": ("mjpeg", "mjpeg", "yuvj420p", (31, 2), lambda q: {"qmin": str(q), "qmax": str(q)}),
}


def code(frame: Frame, name: str, quality: int) -> tuple[int, Frame]:
    """Bytes of `frame` at `quality`, and what is decoded from them."""
    encoder, decoder, pixels, _, options = CODECS[name]
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width = context.height = frame.shape[0]
    context.pix_fmt = pixels
    context.time_base = Fraction(1)
    context.framerate = Fraction(1)
    context.options = options(quality)
    picture = to_video_frame(frame, 0, Fraction(1)).reformat(format=pixels)
    with quiet_svt_av1():
        data = b"".join(bytes(p) for p in [*context.encode(picture), *context.encode(None)])
    reader = av.CodecContext.create(decoder, "r")
    assert isinstance(reader, av.VideoCodecContext)
    shown = [*reader.decode(av.Packet(data)), *reader.decode(None)]
    return len(data), from_video_frame(shown[0])


def fit(frame: Frame, name: str, budget: int) -> Frame | None:
    """The finest picture within `budget`, found by bisection; None where the coarsest is larger."""
    coarse, fine = CODECS[name][3]
    best = None
    for _ in range(_STEPS):
        quality = round((coarse + fine) / 2)
        size, shown = code(frame, name, quality)
        if size <= budget:
            best, coarse = shown, quality
        else:
            fine = quality
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512, help="side of the picture in px")
    arguments = parser.parse_args()
    judge = load_lpips()

    firsts = [next(media.read_frames(clip)).frame for clip in arguments.clips]
    frames = [prepare(first, arguments.size) for first in firsts]
    print("# The reference's still codec\n")
    print(
        f"Mean LPIPS (AlexNet v0.1) of the first picture of {len(frames)} clips at "
        f"{arguments.size} px, each at the finest quality that fits into so many bytes. "
        "Made by `scripts/compare_still_codecs.py`.\n"
    )
    print("| codec | " + " | ".join(f"{budget:,} bytes" for budget in BUDGETS) + " |")
    print("|---" * (len(BUDGETS) + 1) + "|")
    for name in CODECS:
        cells = []
        for budget in BUDGETS:
            shown = [fit(frame, name, budget) for frame in frames]
            fitting = [(a, b) for a, b in zip(shown, frames, strict=True) if a is not None]
            missing = len(frames) - len(fitting)
            if missing:
                cells.append(f"{missing} do not fit")
                continue
            cells.append(f"{np.mean([lpips(judge, a, b) for a, b in fitting]):.4f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    guard(main)
