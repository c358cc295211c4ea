"""`gemino export`: a model as graphs for onnxruntime."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

import gemino
from gemino.cli.console import console
from gemino.cli.grouping import grouped
from gemino.config import MAX_KBPS, MIN_KBPS, EncoderConfig, Rung
from gemino.errors import GeminoError, MediaError
from gemino.graphs import GraphPrecision, graph_path
from gemino.media import probe, read_frames
from gemino.runtime.choice import exports_folder
from gemino.zoo import DEFAULT_MODEL, ModelFiles, find

if TYPE_CHECKING:
    from gemino.runtime.parity import Proof, Scene

_SAMPLES = ("webcam.mp4", "address.mp4")
_PICTURES, _EVERY = 8, 10
_BITS_PER_PIXEL = 1 / 32  # 15 kbps at 128 px and 30 fps, 60 at 256 px


@dataclass(frozen=True, slots=True)
class _Graphs:
    """What is written."""

    heading: ClassVar[str] = "What is written"

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="For the graphs; made if need be.  [default: one in ~/.cache/gemino/exports, from"
            " which --runtime auto takes them where that is faster]",
        ),
    ] = None
    model: Annotated[str, typer.Option(help="Model to export, by name or folder.")] = DEFAULT_MODEL
    size: Annotated[
        int, typer.Option(help="Side of the rebuilt picture: 256, 512, 768 or 1024 px.")
    ] = 512
    precision: Annotated[
        GraphPrecision, typer.Option(help="int8 is faster and costs a little LPIPS, which is said.")
    ] = "float32"


@dataclass(frozen=True, slots=True)
class _Proving:
    """What it is proven with, and calibrated."""

    heading: ClassVar[str] = "What it is proven with"

    lr: Annotated[
        list[int] | None,
        typer.Option(
            metavar="PX",
            help="LR size to prove and calibrate with; repeat for more. The graphs take any."
            "  [default: 128, 256]",
        ),
    ] = None
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CLIPS",
            help="Clip, or folder of clips, to prove and calibrate with; repeat for more. Default: "
            "the two shipped ones.",
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False


@grouped
def export(graphs: _Graphs, proving: _Proving) -> None:
    """Write a model as three ONNX graphs, with proof that they draw what torch draws.

    Whoever has the folder needs onnxruntime to run it and no torch: name it wherever a model is
    named. One export serves every LR size, and pictures of one size.

    Example: gemino export --size 512 --precision int8 -o generic-s-int8

    Then: gemino decode webcam.gem --model ./generic-s-int8 -o webcam.mp4
    """
    files, size = find(graphs.model), graphs.size
    name = f"{files.config.name}-{size}-{graphs.precision}"
    output = exports_folder() / name if graphs.output is None else graphs.output
    _check(files, output, size)
    from gemino.evaluation import clips
    from gemino.runtime.parity import export_model

    rungs = [_rung(px, size) for px in proving.lr or [128, 256]]
    chosen = clips.find(proving.calibrate) if proving.calibrate else _samples()
    if graphs.precision == "int8" and not chosen:
        raise MediaError("the sample clips are not installed; name some: --calibrate CLIPS")
    console.print(f"coding {len(chosen)} clips at {len(rungs)} LR sizes")
    scenes = [scene for clip in chosen for rung in rungs for scene in _scenes(clip, rung, size)]
    console.print(f"writing the graphs of {files.config.name} and proving them")
    proof = export_model(files, size, output, scenes, graphs.precision)
    if proving.as_json:
        typer.echo(json.dumps(proof.facts))
    else:
        _tell(proof, sum(len(scene.pictures) for scene in scenes), output)


def _check(files: ModelFiles, output: Path, size: int) -> None:
    """Say now, not after a minute, what cannot work."""
    if files.graphs is not None:
        raise GeminoError(f"{files.path}: is an export already; name the model that it came from")
    if files.adapter is not None:
        raise GeminoError("a model with an adapter is not exported yet; name the model alone")
    if size not in (256, 512, 768, 1024):
        raise GeminoError(f"--size must be 256, 512, 768 or 1024, not {size}")
    if output.exists() and not output.is_dir():
        raise GeminoError(f"{output}: is a file; name a folder")
    if output.is_dir() and any(output.iterdir()) and not graph_path(output, "encode").is_file():
        raise GeminoError(f"{output}: holds something else; name an empty or a new folder")


def _samples() -> list[Path]:
    folder = Path(gemino.__path__[0]).parent / "samples"
    return [folder / name for name in _SAMPLES if (folder / name).is_file()]


def _rung(px: int, size: int) -> Rung:
    if px > size:
        raise GeminoError(f"--lr {px}: an LR picture is not larger than the rebuilt one, {size} px")
    try:
        return Rung("av1", px, min(max(30 * px * px * _BITS_PER_PIXEL / 1000, MIN_KBPS), MAX_KBPS))
    except ValueError as error:
        raise GeminoError(f"--lr: {error}") from error


def _scenes(clip: Path, rung: Rung, output_px: int) -> "Iterator[Scene]":
    """What a receiver has of the clip's beginning: references, and every tenth picture."""
    from gemino.decoder import Decoder
    from gemino.encoder import Encoder
    from gemino.frames import prepare
    from gemino.runtime import ClassicalSynthesizer
    from gemino.runtime.parity import Picture, Scene
    from gemino.video.reference import decode_picture

    fps = probe(clip).fps
    encoder = Encoder(EncoderConfig(output_px=output_px, rung=rung, fps=fps))
    decoder = Decoder(ClassicalSynthesizer(output_px), rung.codec)
    reference, pictures = None, list[Picture]()
    for at, timed in enumerate(islice(read_frames(clip), _PICTURES * _EVERY)):
        sent = encoder.encode(timed.frame, at / float(fps))
        if sent.reference is not None:
            if reference is not None and pictures:
                yield Scene(reference, pictures)
            reference, pictures = decode_picture(sent.reference), []
        seen = decoder.decode_lr(sent.lr, sent.index)
        if seen is not None and at % _EVERY == _EVERY - 1:
            original = prepare(timed.frame, output_px)
            pictures.append(Picture(seen.frame, seen.sampling, seen.log2_bits_per_pixel, original))
    if reference is not None and pictures:
        yield Scene(reference, pictures)


def _tell(proof: "Proof", pictures: int, output: Path) -> None:
    rows = [("golden.npz", proof.golden)]
    rows += [(f"{pictures} coded pictures", proof.scenes)] if proof.scenes is not None else []
    for name, found in rows:
        typer.echo(
            f"float32 graphs against torch, {name}: at most {found.largest} levels apart, "
            f"{found.mean:.5f} on average"
        )
    if proof.lpips is not None:
        exact, rounded = proof.lpips
        kept = f", {', '.join(proof.kept)} kept in float32" if proof.kept else ""
        typer.echo(
            f"int8: LPIPS {rounded:.4f} instead of {exact:.4f} on pictures that it was not "
            f"calibrated on, {rounded - exact:+.4f}{kept}"
        )
    typer.echo(f"to use it: --model {output}")
