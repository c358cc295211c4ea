"""`gemino evaluate`: the published figures, from clips of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gemino.cli.console import console, progress, shown, sizes_px, with_adapter
from gemino.config import MAX_KBPS, MIN_KBPS
from gemino.errors import GeminoError
from gemino.runtime import Precision, Runtime
from gemino.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from gemino.evaluation.bench import Record, Settings, Task
    from gemino.evaluation.edition import Outputs
    from gemino.evaluation.results import Results

_STRIP_KBPS = 15.0


def evaluate(
    clips: Annotated[list[Path], typer.Argument(help="Clips, or folders of them.")],
    size: Annotated[
        str, typer.Option(help="Sides of the pictures that are measured, as 512 or 512,1024.")
    ] = "512",
    kbps: Annotated[
        str, typer.Option(help="Total payloads to ask of each codec, as 15 or 6,10,15.")
    ] = "15",
    more_kbps: Annotated[
        list[str] | None,
        typer.Option(metavar="CODEC:LIST", help="More rates of one codec, as vp8:100,200,400."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Models that rebuild, by name or folder, or none.")
    ] = DEFAULT_MODEL,
    adapter: Annotated[
        str | None,
        typer.Option(help="Personal adapter: measures each model with it, too."),
    ] = None,
    codecs: Annotated[
        str,
        typer.Option(help="Of gemino, bicubic, vp8, vp9, av1, x265; gemino-av1: its LR codec."),
    ] = "gemino,bicubic,vp8,av1",
    every: Annotated[int, typer.Option(min=1, max=1000, help="Measure every so many frames.")] = 10,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=120.0, help="Use so much of each clip.")
    ] = 30.0,
    play_s: Annotated[
        float,
        typer.Option(min=0.0, max=600.0, help="Play forth and back for so long; 0: once through."),
    ] = 40.0,
    reference_bytes: Annotated[
        int | None,
        typer.Option(min=1000, max=200_000, help="Most bytes of a reference.  [by rate and size]"),
    ] = None,
    vgg: Annotated[
        Path | None, typer.Option(metavar="NPZ", help="LPIPS weights of VGG16, to measure too.")
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="TASK", help="MediaPipe's face landmarker, for eyes and mouths."),
    ] = None,
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the models; auto: onnx for an export, else torch.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Number format of torch; auto: the faster one here.")
    ] = "auto",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes that measure.")] = 1,
    bd_kbps: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Gemino's rates that BD-rates are over.")
    ] = "8,40",
    as_json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures there, point by point."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the points that the JSON file holds already.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report in one file.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write rate-distortion plots there.")
    ] = None,
    strips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures by each codec there.")
    ] = None,
) -> None:
    """Code clips with Gemino and other codecs at the same rates, and measure what becomes of them.

    No call is held, and nothing is lost on the way. What is measured, and how every codec is set,
    is in docs/evaluation.md. Ctrl-C keeps what --json holds; --resume goes on from there.

    Example: gemino evaluate samples/webcam.mp4 --kbps 10,20,40 --html out/report.html
    """
    rates = _rates("--kbps", kbps)
    bounds = _rates("--bd-kbps", bd_kbps)
    if len(bounds) != 2:
        raise GeminoError("--bd-kbps: give two rates, as 8,40")
    if resume and as_json is None:
        raise GeminoError("--resume needs --json FILE: the points are kept there")
    sizes, more = sizes_px(size), _more(more_kbps or [])

    from gemino.evaluation.bench import Settings
    from gemino.evaluation.edition import Outputs, begin, plan
    from gemino.evaluation.specs import parse, split

    strip_kbps = _STRIP_KBPS if _STRIP_KBPS in rates else rates[len(rates) // 2]
    outputs = Outputs(as_json, html, plots, strips, strip_kbps, (bounds[0], bounds[1]))
    how = every, seconds, play_s, reference_bytes, vgg, landmarks, outputs.panels, strip_kbps
    settings = Settings(*how, runtime, precision)
    if adapter is not None:
        model = ",".join(f"{one},{with_adapter(one, adapter)}" for one in split(model))
    tasks = plan(clips, sizes, parse(codecs, model), rates, more)
    settings.check()
    outputs.prepare()
    with outputs.claimed():
        results, done = begin(outputs, settings, tasks, resume=resume)
        failures = _measure(tasks, settings, jobs, outputs, results, done)
        if results.points:
            for table in outputs.publish(results):
                Console().print(shown(table))
    if failures:
        raise GeminoError(f"{len(failures)} of {len(tasks)} points failed: {failures[0]}")


def _measure(
    tasks: "Sequence[Task]",
    settings: "Settings",
    jobs: int,
    outputs: "Outputs",
    results: "Results",
    done: "Sequence[Record]",
) -> list[str]:
    """Fill `results` point by point, keeping them as they come; what failed, in a line each."""
    from gemino.evaluation import campaign
    from gemino.evaluation.bench import place

    failures: list[str] = []
    order = {task.place: number for number, task in enumerate(tasks)}
    with progress() as bar:
        work = bar.add_task("evaluating", total=len(tasks))
        try:
            for outcome in campaign.run(tasks, settings, jobs, done):
                if outcome.record is None:
                    failures.append(f"{_name(outcome.task)}: {outcome.failure}")
                    console.print(f"failed: {failures[-1]}", soft_wrap=True)
                else:
                    results.points.append(outcome.record)
                    results.points.sort(key=lambda record: order.get(place(record), -1))
                    outputs.keep(results)
                bar.update(work, description=_name(outcome.task), advance=1 + outcome.skipped)
                if not console.is_terminal and outcome.record is not None:
                    console.print(_line(outcome.record), soft_wrap=True)
        except KeyboardInterrupt:
            if outputs.json is not None:
                kept = f"{len(results.points)} points are kept in {outputs.json}"
                console.print(f"interrupted; {kept}; --resume goes on", soft_wrap=True)
            raise
    return failures


def _name(task: "Task") -> str:
    return f"{task.name} {task.size_px} px, {task.spec.name} at {task.kbps:g} kbps"


def _line(record: "Record") -> str:
    return (
        f"{record['clip']} {record['size']} px, {record['codec']}: "
        f"LPIPS {record['lpips']:.4f} at {record['payload_kbps']:.1f} kbps"
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


def _more(texts: "Sequence[str]") -> dict[str, list[float]]:
    more: dict[str, list[float]] = {}
    for text in texts:
        codec, colon, rates = text.rpartition(":")
        if not colon:
            raise GeminoError(f"--more-kbps: {text} is not of the form CODEC:RATE,RATE")
        more[codec] = _rates("--more-kbps", rates)
    return more
