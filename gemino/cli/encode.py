"""`gemino encode`: a clip to a `.gem` file, at the rate that was asked for."""

import json
import math
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer

from gemino.cli.console import (
    NO_MODEL,
    check_folder,
    console,
    progress,
    refuse_same,
    with_adapter,
)
from gemino.config import (
    MAX_KBPS,
    MIN_KBPS,
    REFERENCE_AMORTISATION_S,
    EncoderConfig,
    LrCodec,
    Rung,
    frame_step,
    ladder,
    reference_budget_bytes,
    reference_kbps,
)
from gemino.container import GemWriter, Header
from gemino.encoder import Encoder
from gemino.errors import GeminoError, MediaError, ModelError
from gemino.media import ClipInfo, DamagedMediaError, probe, read_frames
from gemino.zoo import DEFAULT_MODEL, ModelFiles, find

_TOLERANCE = 0.05
_MAX_PASSES = 4
_MAX_HINT = 64
_VIDEO = (".mp4", ".mkv", ".webm", ".mov", ".avi")


@dataclass(frozen=True, slots=True)
class Coded:
    """One pass over a clip: what it cost, and where it broke off if it did."""

    path: Path
    rung: Rung
    frames: int
    references: int
    seconds: float
    lr_bytes: int
    reference_bytes: int
    container_bytes: int
    damage: DamagedMediaError | None

    @property
    def lr_kbps(self) -> float:
        return self.lr_bytes * 8 / self.seconds / 1000

    @property
    def reference_kbps(self) -> float:
        """Spread over a minute, or over the clip where that is longer."""
        spread_s = max(REFERENCE_AMORTISATION_S, self.seconds)
        return self.reference_bytes * 8 / spread_s / 1000

    @property
    def payload_kbps(self) -> float:
        return self.lr_kbps + self.reference_kbps


@dataclass(frozen=True, slots=True)
class _Wish:
    """kbps: the total payload. size_px: of LR pictures. step: every so many frames one is sent.
    fovea: whether they look closer at the face."""

    kbps: float
    size_px: int
    step: int
    fovea: bool


def encode(
    clip: Annotated[Path, typer.Argument(help="A video file; its centre square is used.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .gem file to write.")],
    kbps: Annotated[
        float,
        typer.Option(
            min=MIN_KBPS,
            max=MAX_KBPS,
            help="Total payload, references spread over 60 s, or the clip if it is longer.",
        ),
    ] = 15.0,
    size: Annotated[
        Literal["256", "512", "768", "1024"],
        typer.Option(help="Side of the picture that the receiver rebuilds."),
    ] = "512",
    model: Annotated[
        str, typer.Option(help="Model to name in the file for decoding, or none.")
    ] = DEFAULT_MODEL,
    adapter: Annotated[
        str | None, typer.Option(help="Personal adapter to name in the file, by its checksum.")
    ] = None,
    lr_codec: Annotated[
        Literal["av1", "vp8"], typer.Option(help="Codec of the low-resolution stream.")
    ] = "av1",
    fovea: Annotated[
        bool, typer.Option("--fovea", help="Sample the face more densely than the rest; AV1 only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """Encode a clip into a .gem file: every byte of video that a call would send.

    A .gem file carries no sound yet.

    Example: gemino encode samples/webcam.mp4 -o webcam.gem --kbps 15 --size 512
    """
    info = probe(clip)
    refuse_same(clip, output)
    check_folder(output)
    if output.suffix.lower() in _VIDEO:
        raise MediaError(f"{output}: a .gem file is no video; name it .gem, and gemino decode it")
    if fovea and lr_codec != "av1":
        raise GeminoError("--fovea is for AV1: leave --lr-codec vp8 out")
    step = frame_step(info.fps, kbps)
    named = with_adapter(model, adapter)
    files = None if named == NO_MODEL else find(named)
    header = _header(info, int(size), lr_codec, files, step)
    wanted = kbps - reference_kbps(kbps, header.output_px)
    steps = None if files is None else files.ladders.get(lr_codec)
    size_px = min(ladder(wanted, lr_codec, steps).size_px, header.output_px)
    wish = _Wish(kbps, size_px, step, fovea)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".gemino-") as folder:
        best, passes = _search_rate(info, header, wish, Path(folder))
        best.path.replace(output)
    _report(best, passes, kbps, header, output, as_json)
    if best.damage is not None:
        raise MediaError(f"{best.damage}; {output} holds the {best.frames} good frames")


def _header(
    info: ClipInfo, size_px: int, codec: LrCodec, files: ModelFiles | None, step: int
) -> Header:
    fps = max(info.fps / step, Fraction(1)).limit_denominator(1001)
    frames = None if info.frames is None else math.ceil(info.frames / step)
    if files is None:
        return Header(size_px, fps, codec, frames)
    if len(files.hint) > _MAX_HINT:
        raise ModelError(f"{files.hint}: is too long a name for the file; give the model a shorter")
    return Header(size_px, fps, codec, frames, files.hint, bytes.fromhex(files.sha256))


def _search_rate(info: ClipInfo, header: Header, wish: _Wish, folder: Path) -> tuple[Coded, int]:
    """Encode until the payload is within 5 % of `kbps` or comes no closer; the best and the count.

    Encoders hold a rate over many seconds and within their quantisers; how far a short clip lands
    from it shows only when it is coded.
    """
    kbps = wish.kbps
    reference_bytes = reference_budget_bytes(kbps, header.output_px)
    for_references = reference_kbps(kbps, header.output_px)
    asked = max(kbps - for_references, MIN_KBPS)
    best: Coded | None = None
    count = 0
    while count < _MAX_PASSES:
        count += 1
        config = EncoderConfig(
            header.output_px,
            Rung(header.codec, wish.size_px, asked),
            header.fps,
            reference_bytes,
            for_references,
            foveate=wish.fovea,
        )
        coded = _encode_once(info, header, config, wish.step, folder / f"{count}.gem", count)
        if best is None or abs(coded.payload_kbps - kbps) < abs(best.payload_kbps - kbps):
            best = coded
        room = max(kbps - coded.reference_kbps, 0.1)
        corrected = min(max(asked * room / coded.lr_kbps, MIN_KBPS), MAX_KBPS)
        if abs(coded.payload_kbps / kbps - 1) <= _TOLERANCE or abs(corrected / asked - 1) < 0.01:
            break
        asked = corrected
    assert best is not None
    return best, count


def _encode_once(
    info: ClipInfo, header: Header, config: EncoderConfig, step: int, path: Path, number: int
) -> Coded:
    encoder, rung = Encoder(config), None
    references, last_us, damage = 0, 0, None
    with path.open("wb") as file, progress() as bar:
        task = bar.add_task(f"encoding, pass {number}", total=info.frames)
        writer = GemWriter(file, header)
        try:
            for index, timed in enumerate(read_frames(info.path)):
                bar.advance(task)
                if index % step:
                    continue
                sent = encoder.encode(timed.frame, timed.time_s)
                if sent.rung != rung:
                    rung = sent.rung
                    writer.write_rung(rung)
                if sent.reference is not None:
                    writer.write_reference(sent.reference)
                    references += 1
                # Times closer than a microsecond are moved apart: each must be later.
                last_us = max(last_us + 1 if writer.frames else 0, round(timed.time_s * 1e6))
                writer.write_picture(last_us, sent.keyframe, sent.lr)
        except DamagedMediaError as error:
            if not writer.frames:
                raise
            damage = error
        duration_us = last_us + round(1e6 / header.fps)
        writer.write_end(duration_us)
    return Coded(
        path=path,
        rung=config.rung,
        frames=writer.frames,
        references=references,
        seconds=duration_us / 1e6,
        lr_bytes=writer.lr_bytes,
        reference_bytes=writer.reference_bytes,
        container_bytes=writer.container_bytes,
        damage=damage,
    )


def _report(
    coded: Coded, passes: int, kbps: float, header: Header, output: Path, as_json: bool
) -> None:
    alone_kbps = (coded.lr_bytes + coded.reference_bytes) * 8 / coded.seconds / 1000
    if as_json:
        figures = {
            "lr_bytes": coded.lr_bytes,
            "reference_bytes": coded.reference_bytes,
            "container_bytes": coded.container_bytes,
            "frames": coded.frames,
            "fps": round(float(header.fps), 3),
            "seconds": round(coded.seconds, 3),
            "target_kbps": kbps,
            "payload_kbps": round(coded.payload_kbps, 3),
            "unspread_kbps": round(alone_kbps, 3),
            "lr_kbps": round(coded.lr_kbps, 3),
            "references": coded.references,
            "lr_px": coded.rung.size_px,
            "lr_codec": coded.rung.codec,
            "output_px": header.output_px,
            "passes": passes,
            "model": header.model or NO_MODEL,
        }
        typer.echo(json.dumps(figures))
        return
    typer.echo(
        f"{output}: {coded.frames} frames of {header.output_px} px in {coded.seconds:.2f} s, "
        f"{coded.container_bytes} bytes\n"
        f"LR stream: {coded.rung.codec} of {coded.rung.size_px} px, {coded.lr_bytes} bytes, "
        f"{coded.lr_kbps:.2f} kbps; "
        f"references: {coded.references}, {coded.reference_bytes} bytes\n"
        f"payload: {coded.payload_kbps:.2f} kbps of {kbps:g} asked, references spread over "
        f"{max(REFERENCE_AMORTISATION_S, coded.seconds):.0f} s; {alone_kbps:.2f} kbps over the "
        "clip alone"
    )
    if coded.payload_kbps > kbps * (1 + _TOLERANCE):
        console.print(f"note: this clip needs {coded.payload_kbps:.1f} kbps at the least")
