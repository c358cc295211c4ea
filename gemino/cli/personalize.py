"""`gemino personalize`: a minute of somebody's own video in, a small adapter out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from gemino.cli.console import console
from gemino.cli.grouping import grouped
from gemino.cli.learning import Processor, check_name, is_name
from gemino.errors import GeminoError, MediaError
from gemino.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from gemino.personal.program import PersonalOptions

_FILMED_PX = 720


@dataclass(frozen=True, slots=True)
class _Footage:
    """Whose face it is, and where it is seen."""

    heading: ClassVar[str] = "Whose face, and where it is seen"

    name: Annotated[
        str | None, typer.Option(help="Whose adapter it is: a folder below --models.")
    ] = None
    record: Annotated[
        float | None,
        typer.Option(
            min=10.0,
            max=600.0,
            metavar="SECONDS",
            help="Film yourself now, with prompts, instead of naming videos.",
        ),
    ] = None
    camera: Annotated[
        str, typer.Option(metavar="N|PATH", help="With --record: another camera than the first.")
    ] = "0"
    seconds: Annotated[
        float, typer.Option(min=5.0, max=600.0, help="Use so much of the videos, at most.")
    ] = 180.0
    detector: Annotated[
        Literal["blazeface", "face-alignment"],
        typer.Option(
            help="What finds the face; face-alignment is slow, needs pip install 'gemino\\[face]',"
            " and fetches its models (185 MB) on first use."
        ),
    ] = "blazeface"

    def film(self, folder: Path, *, resume: bool) -> Path | None:
        """What --record films, in `folder`; None without it."""
        return None if self.record is None else _film(self.record, self.camera, folder, resume)


@dataclass(frozen=True, slots=True)
class _People:
    """Many people at once."""

    heading: ClassVar[str] = "Many people"

    many: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Many people: a video, or a folder of them, each."),
    ] = None
    workers: Annotated[int, typer.Option(min=1, max=256, help="With --many: people at a time.")] = 1
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --many: on a Ray cluster, HOST:PORT, auto, or local for this machine alone.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class _Course:
    """How long it learns, and how."""

    heading: ClassVar[str] = "How long it learns, and how"

    model: Annotated[str, typer.Option(help="The model that it adapts.")] = DEFAULT_MODEL
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of training, at most.")] = 15.0
    steps: Annotated[int, typer.Option(min=1, help="Steps of training, at most.")] = 1200
    rank: Annotated[int, typer.Option(min=1, max=24, help="Size of the adapter.")] = 8
    seed: Annotated[int, typer.Option(min=0, help="Decides batches and first weights.")] = 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the adapter goes, and what is kept on the way."""

    heading: ClassVar[str] = "What is written, and where"

    models: Annotated[Path, typer.Option(help="Where the adapter is written.")] = Path(
        "models/personal"
    )
    runs: Annotated[
        Path, typer.Option(help="Where footage and checkpoints lie until it is done.")
    ] = Path("runs/personal")
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint.")] = True


@grouped
def personalize(
    footage: _Footage,
    people: _People,
    course: _Course,
    machine: Processor,
    places: _Places,
    videos: Annotated[
        list[Path] | None, typer.Argument(help="Videos of one person, talking.")
    ] = None,
) -> None:
    """Learn one person's face from their own video, for calls that look better.

    A minute of talking into the camera, alone, is good. The generic network stays as it is; what
    is learned is a file of half a megabyte at most, and only written if it is better than the
    generic network on the last part of the video. Interrupt it at any time: the same command goes
    on.

    Example: gemino personalize me.mp4 --name me, then gemino decode call.gem --adapter me -o a.mp4
    """
    _check(videos, footage, people, places)
    machine.check()
    from gemino.personal.detectors import make_ready
    from gemino.personal.program import run

    if footage.record is not None or (people.many is not None and people.ray is None):
        # Before somebody is filmed for nothing; and once, rather than by each worker at a time.
        make_ready(footage.detector, console.print)
    filmed = footage.film(places.runs / (footage.name or ""), resume=places.resume)
    taken = videos or ([] if filmed is None else [filmed])
    options = _options(taken, footage, course, machine, places)
    if people.many is not None:
        _run_many(people.many, options, people.workers, people.ray)
        return
    written = run(options, console).folder
    if filmed is not None:
        filmed.unlink(missing_ok=True)  # as all that is left of somebody's face
    console.print(f"the adapter is in {written}: --adapter {footage.name}", soft_wrap=True)


def _options(
    videos: list[Path], footage: _Footage, course: _Course, machine: Processor, places: _Places
) -> "PersonalOptions":
    from gemino.personal.program import PersonalOptions

    return PersonalOptions(
        videos,
        footage.name or "",
        course.model,
        course.minutes,
        course.steps,
        course.rank,
        seconds=footage.seconds,
        detector=footage.detector,
        device=machine.device,
        mixed_precision=machine.mixed_precision,
        threads=machine.threads,
        seed=course.seed,
        resume=places.resume,
        runs=places.runs,
        models=places.models,
    )


def _check(videos: list[Path] | None, footage: _Footage, people: _People, places: _Places) -> None:
    if footage.record is not None and (videos or people.many is not None):
        raise GeminoError("--record SECONDS films you: name no videos, and no --many")
    seen = videos or ([] if footage.record is None else [places.runs])
    _check_who(seen, footage.name, people.many)
    if people.ray is not None and people.many is None:
        raise GeminoError("--ray goes with --many FOLDER")


def _check_who(videos: list[Path] | None, name: str | None, many: Path | None) -> None:
    if many is not None:
        if videos or name:
            raise GeminoError("--many FOLDER says whose videos: name neither any nor --name")
        return
    if not videos or name is None:
        raise GeminoError(
            "name the videos of one person, or --record SECONDS, with --name; or --many FOLDER"
        )
    check_name(name)


def _film(seconds: float, camera: str, folder: Path, resume: bool) -> Path:
    """What the camera sees, in `folder`; of a former run that is gone on with, what it saw then."""
    from gemino.call.devices import open_capture
    from gemino.personal.recording import PROMPTS, RECORDING, record

    path = folder / RECORDING
    if resume and path.is_file():
        console.print(f"going on with what was filmed before: {path}", soft_wrap=True)
        return path
    capture = open_capture(camera, _FILMED_PX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder}: cannot be made ({error.strerror})") from error
    said = ""
    with Progress(*Progress.get_default_columns()[:2], console=console) as shown:
        task = shown.add_task(PROMPTS[0], total=seconds)

        def tell(prompt: str, left_s: float) -> None:
            nonlocal said
            shown.update(task, description=prompt, completed=seconds - left_s)
            if prompt != said and not console.is_terminal:
                console.print(prompt, soft_wrap=True)
            said = prompt

        record(capture, path, seconds, tell)
    return path


def _run_many(folder: Path, options: "PersonalOptions", workers: int, ray: str | None) -> None:
    from gemino.personal.many import Outcome, people, run_many, summary

    def tell(one: Outcome) -> None:
        console.print(f"{one.name}: {one.failure or 'done'}", soft_wrap=True)

    found = people(folder)
    bad = [name for name in found if not is_name(name)]
    if bad:
        raise GeminoError(f"{folder / bad[0]}: name it in letters, digits, '.', '_' and '-'")
    outcomes = run_many(found, options, workers, tell, ray)
    Console().print(summary(outcomes))
    failed = [one for one in outcomes if one.failure is not None]
    if failed:
        raise GeminoError(f"{len(failed)} of {len(outcomes)} people have no adapter")
