"""Measures what a coarse first reference is worth: LPIPS of the first seconds of a call.

    python scripts/compare_first_reference.py samples/webcam.mp4 samples/address.mp4

For each clip and rate it rebuilds four seconds without a reference, with the coarse coding of the
first picture and with the fine one, and then plays what a receiver sees: the pictures of whichever
is there by then. Links carry a reference at the sender's own pace, or at what a thin link has left
beside the LR stream. Prints a table in Markdown.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemino.call.adaptation import split
from gemino.cli.edge import guard
from gemino.config import EncoderConfig, first_reference_bytes
from gemino.decoder import Decoder
from gemino.encoder import Encoder
from gemino.evaluation.metrics import lpips, use_one_thread
from gemino.frames import prepare
from gemino.media import probe, read_frames
from gemino.runtime import open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.video.reference import decode_picture
from gemino.zoo import find

MODEL, SIZE_PX = "generic-s", 512
SECONDS, EVERY = 4.0, 6
RATES_KBPS = (15.0, 50.0)
THIN_KBPS = 20.0
"""What a thin link has left for references beside LR stream, sound and headers."""


@dataclass(frozen=True)
class Start:
    """A clip's first seconds at one rate. lpips: by state, of the pictures at `times`."""

    times: list[float]
    coarse_bytes: int
    fine_bytes: int
    pace_kbps: float
    lpips: dict[str, list[float]]

    def seen(self, kbps: float, *, progressive: bool) -> tuple[float, float]:
        """When something sharp is there, and the mean LPIPS of all that time."""
        coarse_s = self.coarse_bytes * 8 / 1000 / kbps if progressive else 0.0
        fine_s = coarse_s + self.fine_bytes * 8 / 1000 / kbps
        values = []
        for at, time_s in enumerate(self.times):
            state = "none"
            if time_s >= fine_s:
                state = "fine"
            elif progressive and time_s >= coarse_s:
                state = "coarse"
            values.append(self.lpips[state][at])
        return (coarse_s if progressive else fine_s), float(np.mean(values))


def measure(clip: Path, kbps: float) -> Start:
    network = load_lpips()
    info = probe(clip)
    budget = split(kbps, SIZE_PX, "av1", find(MODEL).ladders.get("av1"))
    config = EncoderConfig(
        SIZE_PX,
        budget.rung,
        info.fps,
        budget.reference_max_bytes,
        budget.reference_kbps,
        first_reference_bytes=first_reference_bytes(SIZE_PX),
    )
    encoder = Encoder(config)
    pictures, stream, times, references = [], [], [], []
    for timed in read_frames(clip):
        if timed.time_s >= SECONDS:
            break
        pictures.append(prepare(timed.frame, SIZE_PX))
        encoded = encoder.encode(timed.frame, timed.time_s)
        stream.append(encoded.lr)
        references += [] if encoded.reference is None else [encoded.reference]
        times.append(timed.time_s)
    coarse, fine, *_ = references  # both of the first picture
    values: dict[str, list[float]] = {}
    for state, reference in (("none", None), ("coarse", coarse), ("fine", fine)):
        synthesizer = open_synthesizer(MODEL, SIZE_PX)
        decoder = Decoder(synthesizer, "av1")
        if reference is not None:
            synthesizer.add_reference(decode_picture(reference))
        values[state] = []
        for number, lr in enumerate(stream):
            small = decoder.decode_lr(lr, number)
            if small is not None and number % EVERY == 0:
                frame = decoder.rebuild(small).frame
                values[state].append(lpips(network, frame, pictures[number]))
    pace = budget.reference_pace_kbps
    return Start(times[::EVERY], len(coarse), len(fine), pace, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", nargs="+", type=Path)
    clips = parser.parse_args().clips
    use_one_thread()
    lpips_name = f"LPIPS of {SECONDS:g} s"
    print(f"| clip, kbps | references, bytes | link for them | sharp after | {lpips_name} |")
    print("|---|---|---|---|---|")
    for clip in clips:
        for kbps in RATES_KBPS:
            start = measure(clip, kbps)
            for link_kbps in (start.pace_kbps, THIN_KBPS):
                for progressive in (False, True):
                    sharp_s, mean = start.seen(link_kbps, progressive=progressive)
                    sizes = f"{start.coarse_bytes} + " * progressive + str(start.fine_bytes)
                    print(
                        f"| {clip.stem}, {kbps:g} | {sizes} | {link_kbps:g} kbps |"
                        f" {sharp_s:.2f} s | {mean:.3f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    guard(main)
