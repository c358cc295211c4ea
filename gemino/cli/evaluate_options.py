"""The options of `gemino evaluate`: what is coded, how it is measured, and what is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gemino.cli.console import sizes_px, with_adapter
from gemino.config import MAX_KBPS, MIN_KBPS
from gemino.errors import GeminoError
from gemino.runtime import Precision, Runtime
from gemino.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from gemino.evaluation.bench import Settings, Task
    from gemino.evaluation.edition import Outputs

_STRIP_KBPS = 15.0


@dataclass(frozen=True, slots=True)
class Coding:
    """What codes the clips, and at which sizes and rates."""

    heading: ClassVar[str] = "Codecs, sizes and rates"

    codecs: Annotated[
        str,
        typer.Option(help="Of gemino, bicubic, vp8, vp9, av1, x265; gemino-av1: its LR codec."),
    ] = "gemino,bicubic,vp8,av1"
    model: Annotated[str, typer.Option(help="Models that rebuild, by name or folder, or none.")] = (
        DEFAULT_MODEL
    )
    adapter: Annotated[
        str | None,
        typer.Option(help="Personal adapter: measures each model with it, too."),
    ] = None
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the models; auto: onnx for an export, else torch.")
    ] = "auto"
    precision: Annotated[
        Precision, typer.Option(help="Number format of torch; auto: the faster one here.")
    ] = "auto"
    size: Annotated[
        str, typer.Option(help="Sides of the pictures that are measured, as 512 or 512,1024.")
    ] = "512"
    kbps: Annotated[
        str, typer.Option(help="Total payloads to ask of each codec, as 15 or 6,10,15.")
    ] = "15"
    more_kbps: Annotated[
        list[str] | None,
        typer.Option(metavar="CODEC:LIST", help="More rates of one codec, as vp8:100,200,400."),
    ] = None
    reference_bytes: Annotated[
        int | None,
        typer.Option(min=1000, max=200_000, help="Most bytes of a reference.  [by rate and size]"),
    ] = None

    def rates(self) -> list[float]:
        """Of --kbps, in rising order; raises GeminoError."""
        return _rates("--kbps", self.kbps)

    def tasks(self, clips: Sequence[Path]) -> "list[Task]":
        """What is to be coded; raises GeminoError."""
        from gemino.evaluation.edition import plan
        from gemino.evaluation.specs import parse, split

        model, more = self.model, _more(self.more_kbps or [])
        if self.adapter is not None:
            model = ",".join(f"{one},{with_adapter(one, self.adapter)}" for one in split(model))
        return plan(clips, sizes_px(self.size), parse(self.codecs, model), self.rates(), more)


@dataclass(frozen=True, slots=True)
class Measuring:
    """How it is measured."""

    heading: ClassVar[str] = "How it is measured"

    every: Annotated[int, typer.Option(min=1, max=1000, help="Measure every N-th frame.")] = 10
    seconds: Annotated[
        float, typer.Option(min=0.1, max=120.0, help="Seconds to use of each clip.")
    ] = 30.0
    play_s: Annotated[
        float,
        typer.Option(
            min=0.0, max=600.0, help="Seconds of playing back and forth; 0: once through."
        ),
    ] = 40.0
    vgg: Annotated[
        Path | None, typer.Option(metavar="NPZ", help="LPIPS weights of VGG16, to measure too.")
    ] = None
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="TASK", help="MediaPipe's face landmarker, for eyes and mouths."),
    ] = None
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes that measure.")] = 1

    def settings(self, coding: Coding, outputs: "Outputs") -> "Settings":
        """As the processes that measure take it; raises ModelError for weights that are not there.

        The pictures of `outputs` are made beside the figures.
        """
        from gemino.evaluation.bench import Settings

        settings = Settings(
            every=self.every,
            seconds=self.seconds,
            play_s=self.play_s,
            reference_bytes=coding.reference_bytes,
            vgg=self.vgg,
            landmarks=self.landmarks,
            panels=outputs.panels,
            panel_kbps=outputs.strip_kbps,
            runtime=coding.runtime,
            precision=coding.precision,
        )
        settings.check()
        return settings


@dataclass(frozen=True, slots=True)
class Published:
    """What is written."""

    heading: ClassVar[str] = "What is written"

    as_json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures there, point by point."),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the points that the JSON file holds already.")
    ] = False
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report in one file.")
    ] = None
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write rate-distortion plots there.")
    ] = None
    strips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures by each codec there.")
    ] = None
    bd_kbps: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Range of Gemino's rates that BD-rates cover.")
    ] = "8,40"

    def outputs(self, rates: Sequence[float]) -> "Outputs":
        """Where results of these rates go; raises GeminoError. Makes nothing yet."""
        bounds = _rates("--bd-kbps", self.bd_kbps)
        if len(bounds) != 2:
            raise GeminoError("--bd-kbps: give two rates, as 8,40")
        if self.resume and self.as_json is None:
            raise GeminoError("--resume needs --json FILE: the points are kept there")

        from gemino.evaluation.edition import Outputs

        return Outputs(
            json=self.as_json,
            html=self.html,
            plots=self.plots,
            strips=self.strips,
            strip_kbps=_STRIP_KBPS if _STRIP_KBPS in rates else rates[len(rates) // 2],
            bd_kbps=(bounds[0], bounds[1]),
        )


def _rates(option: str, text: str) -> list[float]:
    """Rates in kbps of a comma-separated list, in rising order."""
    try:
        rates = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError as error:
        raise GeminoError(f"{option}: {text} is no list of rates, as 6,10,15") from error
    if not rates or not all(MIN_KBPS <= rate <= MAX_KBPS for rate in rates):
        raise GeminoError(f"{option}: give rates from {MIN_KBPS:g} to {MAX_KBPS:g} kbps")
    return rates


def _more(texts: Sequence[str]) -> dict[str, list[float]]:
    more: dict[str, list[float]] = {}
    for text in texts:
        codec, colon, rates = text.rpartition(":")
        if not colon:
            raise GeminoError(f"--more-kbps: {text} is not of the form CODEC:RATE,RATE")
        more[codec] = _rates("--more-kbps", rates)
    return more
