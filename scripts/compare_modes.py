"""What each way of keeping up costs the viewer: fewer pictures, a lighter model, smaller ones.

    python scripts/compare_modes.py samples/webcam.mp4 samples/address.mp4
    python scripts/compare_modes.py CLIP... --size 1024 --kbps 25 --markdown out/modes.md

Codes the beginning of each clip as a call does, and prints the mean LPIPS (AlexNet) of what would
be shown in each mode of `gemino.call.governor`, beside the mode's cost as the governor reckons it.
Pictures between drawn ones are made as a call makes them (`gemino.call.carry`).
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import fmean

from gemino.call.carry import Carry
from gemino.call.governor import MOST_EVERY, Mode, modes
from gemino.cli.edge import guard
from gemino.config import EncoderConfig, ladder, reference_budget_bytes, reference_kbps
from gemino.decoder import DecodedFrame, Decoder, LrPicture
from gemino.encoder import Encoder
from gemino.evaluation.metrics import lpips, use_one_thread
from gemino.frames import Frame, prepare, resize
from gemino.media import read_frames
from gemino.runtime import Drawing, Synthesizer, open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.zoo import find

_SETTLED = 30
_EVERY = 10
"""So many pictures at the beginning are not looked at; then three in a row of every so many."""


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=512, help="side of the picture in px")
    parser.add_argument("--kbps", type=float, default=15.0, help="total payload")
    parser.add_argument("--model", default="generic-s", help="name or folder")
    parser.add_argument("--frames", type=int, default=120, help="of each clip, from its start")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    asked = parser.parse_args()
    use_one_thread()
    table = _table(asked.clips, asked.model, asked.size, asked.kbps, asked.frames)
    print(table)
    if asked.markdown is not None:
        asked.markdown.write_text(table + "\n")


def _table(clips: list[Path], model: str, size_px: int, kbps: float, frames: int) -> str:
    synthesizer = open_synthesizer(model, size_px, runtime="torch", live=True)
    ways = modes(synthesizer.drawings)
    found: dict[Mode | None, list[float]] = {way: [] for way in (*ways, None)}
    plan = dict.fromkeys(way.drawing for way in ways)
    for clip in clips:
        synthesizer.forget_references()
        for way, error in _clip(clip, model, synthesizer, list(plan), kbps, frames):
            found[way].append(error)
    lines = ["| drawn | cost | LPIPS |", "|---|---|---|"]
    for mode in ways:
        drawing = mode.drawing
        pictures = ("all pictures", "every second", "every third")[mode.every - 1]
        name = f"{pictures}, {drawing.model} at {drawing.size_px} px"
        lines.append(f"| {name} | {mode.cost:.2f} | {fmean(found[mode]):.4f} |")
    lines.append(f"| none: the small picture enlarged | | {fmean(found[None]):.4f} |")
    return "\n".join(lines)


def _clip(
    clip: Path,
    model: str,
    synthesizer: Synthesizer,
    drawings: list[Drawing],
    kbps: float,
    frames: int,
) -> Iterator[tuple[Mode | None, float]]:
    """LPIPS of single pictures of the clip, each with the mode that shows it."""
    size_px, judge = synthesizer.output_px, load_lpips()
    ways = modes(synthesizer.drawings)
    share = reference_kbps(kbps, size_px)
    config = EncoderConfig(
        size_px,
        ladder(kbps - share, "av1", find(model).ladders.get("av1")),
        reference_max_bytes=reference_budget_bytes(kbps, size_px),
        reference_kbps=share,
    )
    encoder, decoder = Encoder(config), Decoder(synthesizer, "av1")
    recent: list[dict[Drawing, DecodedFrame]] = []
    for at, timed in enumerate(islice(read_frames(clip), frames)):
        sent = encoder.encode(timed.frame, at / 30)
        if sent.reference is not None:
            decoder.add_reference(sent.reference)
        small = decoder.decode_lr(sent.lr, sent.index)
        if at < _SETTLED or small is None or at % _EVERY >= 2 * MOST_EVERY - 1:
            continue
        recent = [*recent, _drawn(decoder, small, drawings)][-MOST_EVERY:]
        if at % _EVERY < MOST_EVERY - 1:
            continue
        original = prepare(timed.frame, size_px)
        yield None, lpips(judge, original, resize(small.frame, size_px))
        for mode in ways:
            # Each phase of a mode comes in its turn: the picture drawn now, one or two ago.
            drawn = recent[-1 - (at % _EVERY) % mode.every][mode.drawing]
            yield mode, lpips(judge, original, _shown(drawn, small, recent[-1][mode.drawing]))


def _drawn(
    decoder: Decoder, small: LrPicture, drawings: list[Drawing]
) -> dict[Drawing, DecodedFrame]:
    made = {}
    for drawing in drawings:
        decoder.synthesizer.draw_as(drawing)
        made[drawing] = decoder.rebuild(small)
    return made


def _shown(drawn: DecodedFrame, small: LrPicture, newest: DecodedFrame) -> Frame:
    return drawn.frame if drawn is newest else Carry(drawn).onto(small.frame)


if __name__ == "__main__":
    guard(main)
