"""`gemino evaluate`: the published figures, from clips of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gemino.cli.console import console, progress, shown
from gemino.cli.evaluate_options import Coding, Measuring, Published
from gemino.cli.grouping import grouped
from gemino.errors import GeminoError

if TYPE_CHECKING:
    from gemino.evaluation.bench import Record, Settings, Task
    from gemino.evaluation.edition import Outputs
    from gemino.evaluation.results import Results


@grouped
def evaluate(
    clips: Annotated[list[Path], typer.Argument(help="Clips, or folders of them.")],
    coding: Coding,
    measuring: Measuring,
    published: Published,
) -> None:
    """Code clips with Gemino and other codecs at the same rates, and measure the results.

    No call is held, and nothing is lost on the way. What is measured, and how every codec is set,
    is in docs/evaluation.md. Ctrl-C keeps what --json holds; --resume goes on from there.

    Example: gemino evaluate samples/webcam.mp4 --kbps 10,20,40 --html out/report.html
    """
    outputs = published.outputs(coding.rates())
    tasks = coding.tasks(clips)
    settings = measuring.settings(coding, outputs)

    from gemino.evaluation.edition import begin

    outputs.prepare()
    with outputs.claimed():
        results, done = begin(outputs, settings, tasks, resume=published.resume)
        failures = _measure(tasks, settings, measuring.jobs, outputs, results, done)
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
