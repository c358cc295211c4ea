"""`gemino decode`: a `.gem` file to a movie."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from gemino.cli.console import NO_MODEL, console, progress, refuse_same, with_adapter
from gemino.cli.outputs import check_writable
from gemino.config import interpolates
from gemino.container import (
    EndRecord,
    Header,
    PictureRecord,
    ReferenceRecord,
    read_header,
    read_records,
)
from gemino.decoder import DecodedFrame, Decoder, Interpolator
from gemino.errors import CodecError, MediaError, ModelError
from gemino.media import MovieWriter
from gemino.runtime import Runtime, open_synthesizer
from gemino.runtime.guarded import GuardedSynthesizer
from gemino.zoo import find, names


def decode(
    gem: Annotated[Path, typer.Argument(help="A .gem file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .mp4, or lossless .mkv (FFV1), to write.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Model that rebuilds, by name or folder, or none. Default: the file's."),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(help="Personal adapter, by name or folder. Default: the file's, if here."),
    ] = None,
    runtime: Annotated[
        Runtime,
        typer.Option(help="What runs the model; auto: what is fast enough on this machine."),
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, max=64, help="CPU threads of the network.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """Rebuild the frames of a .gem file, all of them and at their own times.

    Of a clip that was sent with half of its pictures, those between are made from their neighbours.

    A .gem file carries no sound yet. With --model none the pictures are only upsampled.

    Example: gemino decode webcam.gem -o webcam.mkv
    """
    refuse_same(gem, output)
    check_writable(output, (".mp4", ".mkv", ".nut"))
    if not gem.is_file():
        raise MediaError(f"{gem}: no such file")
    with gem.open("rb") as file:
        header = read_header(file)
        chosen = with_adapter(model or _stated(gem, header, adapter is None), adapter)
        synthesizer = open_synthesizer(
            None if chosen == NO_MODEL else chosen,
            header.output_px,
            threads=threads,
            runtime=runtime,
        )
        decoder = Decoder(synthesizer, header.codec)
        shown = Shown(interpolates(1 / float(header.fps)))
        try:
            _rebuild(file, header, decoder, output, shown)
        except CodecError as error:
            kept = f"; {output} holds the {shown.frames} frames before" if shown.frames else ""
            raise CodecError(f"{gem}: {error}{kept}") from error
    _report(shown, synthesizer.name, header, output, as_json)
    if isinstance(synthesizer, GuardedSynthesizer) and not synthesizer.personal:
        console.print(f"note: {synthesizer.name}: another face is seen, or none; it was not used")


def _stated(gem: Path, header: Header, adapted: bool) -> str:
    """The model that the file was made for, with the adapter that it names if that is here."""
    base, mark, _ = header.model.partition("+")
    if base and base not in names():
        raise ModelError(
            f"{gem} was made for model {base!r}, which is not installed; name another with "
            "--model, or --model none"
        )
    if mark and adapted:
        try:
            find(header.model)
        except ModelError as error:
            console.print(f"note: rebuilt without its adapter: {error}", soft_wrap=True)
        else:
            return header.model
    return base or NO_MODEL


@dataclass(slots=True)
class Shown:
    """What a decoding has made so far; doubled: with one made between each two that were sent."""

    doubled: bool
    frames: int = 0
    interpolated: int = 0
    neural: int = 0
    damaged: int = 0
    rejected_references: int = 0
    synthesize_ms: float = 0.0
    seconds: float = 0.0
    _interpolator: Interpolator = field(default_factory=Interpolator)

    def add_reference(self, decoder: Decoder, record: ReferenceRecord) -> None:
        try:
            decoder.add_reference(record.data)
        except CodecError:
            self.rejected_references += 1

    def add_picture(self, decoder: Decoder, record: PictureRecord, movie: MovieWriter) -> None:
        time_s = record.time_us / 1e6
        picture = decoder.decode_lr(record.data, record.index)
        if picture is None:
            self._add(decoder.repeat(), time_s, movie)
            return
        made = self._interpolator.between(picture, time_s) if self.doubled else None
        if made is not None:
            self.interpolated += 1
            self._add(decoder.rebuild(made[0]), made[1], movie)
        self._add(decoder.rebuild(picture), time_s, movie)

    def _add(self, decoded: DecodedFrame, time_s: float, movie: MovieWriter) -> None:
        movie.write(decoded.frame, time_s)
        self.frames += 1
        self.neural += decoded.neural
        self.damaged += not decoded.intact
        self.synthesize_ms += decoded.synthesize_ms


def _rebuild(file: BinaryIO, header: Header, decoder: Decoder, output: Path, shown: Shown) -> None:
    """Write every frame of `file`, behind its header, and count in `shown`; no frame, no movie."""
    fps = header.fps * (2 if shown.doubled else 1)
    with MovieWriter(output, header.output_px, fps) as movie, progress() as bar:
        task = bar.add_task("decoding", total=header.frames)
        for record in read_records(file, header.codec):
            if isinstance(record, ReferenceRecord):
                shown.add_reference(decoder, record)
            elif isinstance(record, PictureRecord):
                shown.add_picture(decoder, record, movie)
                bar.advance(task)
            elif isinstance(record, EndRecord):
                shown.seconds = record.duration_us / 1e6
    if not shown.frames:
        raise CodecError("this .gem file holds no pictures")


def _made(shown: Shown) -> str:
    return f"; {shown.interpolated} of them made between two others" if shown.interpolated else ""


def _report(shown: Shown, model: str, header: Header, output: Path, as_json: bool) -> None:
    per_frame_ms = shown.synthesize_ms / max(shown.frames, 1)
    if as_json:
        figures = {
            "frames": shown.frames,
            "neural_frames": shown.neural,
            "damaged_frames": shown.damaged,
            "rejected_references": shown.rejected_references,
            "seconds": round(shown.seconds, 3),
            "interpolated_frames": shown.interpolated,
            "fps": round(float(header.fps) * (2 if shown.doubled else 1), 3),
            "output_px": header.output_px,
            "model": model,
            "synthesize_ms": round(per_frame_ms, 2),
        }
        typer.echo(json.dumps(figures))
    else:
        how = f"{shown.neural} rebuilt by {model}" if shown.neural else "all upsampled, no model"
        typer.echo(
            f"{output}: {shown.frames} frames of {header.output_px} px in {shown.seconds:.2f} s, "
            f"{how}, {per_frame_ms:.1f} ms each{_made(shown)}"
        )
    if shown.damaged or shown.rejected_references:
        console.print(
            f"note: {shown.damaged} pictures were damaged and "
            f"{shown.rejected_references} references unusable; upsampled pictures stand in"
        )
