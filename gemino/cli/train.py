"""`gemino train`: clips in, a model out."""

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, get_args

import typer

from gemino.cli.console import console
from gemino.cli.grouping import grouped
from gemino.cli.learning import Processor, check_name
from gemino.config import NetworkSize
from gemino.errors import GeminoError

if TYPE_CHECKING:
    from gemino.training.program import TrainingOptions


@dataclass(frozen=True, slots=True)
class _Lessons:
    """What the network learns from."""

    heading: ClassVar[str] = "What it learns from"

    validation: Annotated[
        Path | None, typer.Option(help="Folder of clips of other people; only looked at.")
    ] = None
    output_px: Annotated[
        int, typer.Option(min=128, max=1024, help="Side of the training pictures.")
    ] = 512
    crop_px: Annotated[
        int, typer.Option(min=64, max=1024, help="Side of the window that LPIPS judges.")
    ] = 256
    views: Annotated[int, typer.Option(min=1, max=16, help="Sequences made of each clip.")] = 2
    vgg: Annotated[
        Path | None, typer.Option(help="LPIPS VGG16 weights (.npz); adds that loss.")
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only draw one batch, to RUNS/NAME/batch.png, and stop."),
    ] = False


@dataclass(frozen=True, slots=True)
class _Course:
    """How long it learns, and how."""

    heading: ClassVar[str] = "How long it learns, and how"

    size: Annotated[str, typer.Option(help="Size of the network: xs, s or l.")] = "s"
    start: Annotated[
        str | None,
        typer.Option(
            help="A model, by name or folder, whose weights to begin with. A smaller one is"
            " widened; of a larger one, only those that estimate motion are taken."
        ),
    ] = None
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of training, at most.")] = 100.0
    steps: Annotated[int, typer.Option(min=1, help="Steps of training, at most.")] = 1_000_000
    batch: Annotated[
        int, typer.Option(min=1, max=256, help="Examples at once, in each worker.")
    ] = 4
    accumulate: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Batches a step: 4 of --batch 2 are worth one of 8."),
    ] = 1
    learning_rate: Annotated[float, typer.Option(help="Adam's, at its peak.")] = 5e-4
    seed: Annotated[int, typer.Option(min=0, help="Decides batches and first weights.")] = 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the model goes, and what is kept on the way."""

    heading: ClassVar[str] = "What is written, where and how often"

    name: Annotated[str, typer.Option(help="Name of the model, a folder below --models.")]
    models: Annotated[Path, typer.Option(help="Where the model is written.")] = Path("models")
    runs: Annotated[Path, typer.Option(help="Where checkpoints and curves go.")] = Path("runs")
    cache: Annotated[Path, typer.Option(help="Where decoded sequences are kept.")] = Path(
        ".cache/sequences"
    )
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = True
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 500
    save_every: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints; 0: after every step.")
    ] = 240.0


@grouped
def train(
    clips: Annotated[Path, typer.Argument(help="Folder of clips to train on.")],
    places: _Places,
    lessons: _Lessons,
    course: _Course,
    machine: Processor,
) -> None:
    """Train a network on a folder of clips, with the real codec in the loop.

    Interrupt it at any time: the same command goes on from the last checkpoint, to the same
    weights. Clips that cannot be used are named and left out. Curves and pictures:
    `tensorboard --logdir runs`. Needs the extra `train` (pip install 'gemino[train]').

    Examples:

    See what the network would be shown: `gemino train clips/ --name mine --dry-run`

    An evening on a laptop: `gemino train clips/ --name mine --validation others/ --minutes 90`

    Two processes, or GPUs, of 8 examples a step in all:
    `torchrun --nproc-per-node 2 -- scripts/train.py clips/ --name mine --batch 2 --accumulate 2`
    """
    options = _options(clips, places, lessons, course, machine)
    _check(options)
    machine.check()

    from gemino.training.program import run, show_batch

    if lessons.dry_run:
        show_batch(options, console)
        return
    # The card is for others: of a file or folder it says the name, not where it lay here.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[2:]]
    run(options, shlex.join(words), console)


def _options(
    clips: Path, places: _Places, lessons: _Lessons, course: _Course, machine: Processor
) -> "TrainingOptions":
    from gemino.training.program import TrainingOptions

    return TrainingOptions(
        clips=clips,
        name=places.name,
        validation=lessons.validation,
        size=_size(course.size),
        minutes=course.minutes,
        steps=course.steps,
        batch=course.batch,
        accumulate=course.accumulate,
        output_px=lessons.output_px,
        crop_px=lessons.crop_px,
        views=lessons.views,
        learning_rate=course.learning_rate,
        vgg=lessons.vgg,
        seed=course.seed,
        device=machine.device,
        mixed_precision=machine.mixed_precision,
        threads=machine.threads,
        cache=places.cache,
        runs=places.runs,
        models=places.models,
        resume=places.resume,
        start=course.start,
        validate_every=places.validate_every,
        save_every_s=places.save_every,
    )


def _size(word: str) -> NetworkSize:
    size = next((known for known in get_args(NetworkSize) if known == word), None)
    if size is None:
        raise GeminoError(f"--size must be xs, s or l, not {word!r}")
    network: NetworkSize = size
    return network


def _check(options: "TrainingOptions") -> None:
    """Refuse at once what would fail after hours, or only then be noticed."""
    check_name(options.name)
    if options.output_px % 8 or options.crop_px > options.output_px:
        raise GeminoError("--output-px must be a multiple of 8, and --crop-px no larger")
    if not (math.isfinite(options.learning_rate) and 0 < options.learning_rate <= 1):
        raise GeminoError(
            f"--learning-rate must be over 0 and 1 at most, not {options.learning_rate:g}"
        )
    if not math.isfinite(options.minutes):
        raise GeminoError("--minutes must be a number; to train for --steps alone give a large one")
