"""`gemino train`: clips in, a model out."""

import math
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from gemino.cli.console import console
from gemino.config import NetworkSize
from gemino.errors import GeminoError

if TYPE_CHECKING:
    from gemino.training.program import TrainingOptions

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEVICES = ("auto", "cpu", "cuda")


def train(
    clips: Annotated[Path, typer.Argument(help="Folder of clips to train on.")],
    name: Annotated[str, typer.Option(help="Name of the model, a folder below --models.")],
    validation: Annotated[
        Path | None, typer.Option(help="Folder of clips of other people; only looked at.")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the network: xs, s or l.")] = "s",
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of training, at most.")] = 100.0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training, at most.")] = 1_000_000,
    batch: Annotated[
        int, typer.Option(min=1, max=256, help="Examples at once, in each worker.")
    ] = 4,
    accumulate: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="Batches a step: 4 of --batch 2 teach what one of 8 does."
        ),
    ] = 1,
    output_px: Annotated[
        int, typer.Option(min=128, max=1024, help="Side of the training pictures.")
    ] = 512,
    crop_px: Annotated[
        int, typer.Option(min=64, max=1024, help="Side of the window that LPIPS judges.")
    ] = 256,
    views: Annotated[int, typer.Option(min=1, max=16, help="Sequences made of each clip.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="Adam's, at its peak.")] = 5e-4,
    vgg: Annotated[
        Path | None, typer.Option(help="LPIPS VGG16 weights (.npz); adds that loss.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides batches and first weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    mixed_precision: Annotated[
        bool, typer.Option(help="Compute in bfloat16 where it does no harm; weights stay float32.")
    ] = True,
    threads: Annotated[
        int, typer.Option(min=0, max=1024, help="CPU threads of each worker; 0: an equal share.")
    ] = 0,
    cache: Annotated[Path, typer.Option(help="Where decoded sequences are kept.")] = Path(
        ".cache/sequences"
    ),
    runs: Annotated[Path, typer.Option(help="Where checkpoints and curves go.")] = Path("runs"),
    models: Annotated[Path, typer.Option(help="Where the model is written.")] = Path("models"),
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = True,
    start: Annotated[
        str | None,
        typer.Option(
            help="A model, by name or folder, whose weights to begin with; of one of another size"
            " those that estimate motion."
        ),
    ] = None,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 500,
    save_every: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints; 0: after every step.")
    ] = 240.0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only draw one batch, to RUNS/NAME/batch.png, and stop."),
    ] = False,
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
    from gemino.training.program import TrainingOptions, run, show_batch

    options = TrainingOptions(
        clips=clips,
        name=name,
        validation=validation,
        size=_size(size),
        minutes=minutes,
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        output_px=output_px,
        crop_px=crop_px,
        views=views,
        learning_rate=learning_rate,
        vgg=vgg,
        seed=seed,
        device=device,
        mixed_precision=mixed_precision,
        threads=threads,
        cache=cache,
        runs=runs,
        models=models,
        resume=resume,
        start=start,
        validate_every=validate_every,
        save_every_s=save_every,
    )
    _check(options)
    if dry_run:
        show_batch(options, console)
        return
    # The card is for others: of a file or folder it says the name, not where it lay here.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[2:]]
    run(options, shlex.join(words), console)


def _size(word: str) -> NetworkSize:
    size = next((known for known in get_args(NetworkSize) if known == word), None)
    if size is None:
        raise GeminoError(f"--size must be xs, s or l, not {word!r}")
    network: NetworkSize = size
    return network


def _check(options: "TrainingOptions") -> None:
    """Refuse at once what would fail after hours, or only then be noticed."""
    if not _NAME.fullmatch(options.name):
        raise GeminoError(
            f"--name must be letters, digits, '.', '_' and '-', 64 at most, not {options.name!r}"
        )
    if options.device not in _DEVICES:
        raise GeminoError(f"--device must be auto, cpu or cuda, not {options.device!r}")
    if options.output_px % 8 or options.crop_px > options.output_px:
        raise GeminoError("--output-px must be a multiple of 8, and --crop-px no larger")
    if not (math.isfinite(options.learning_rate) and 0 < options.learning_rate <= 1):
        raise GeminoError(
            f"--learning-rate must be over 0 and 1 at most, not {options.learning_rate:g}"
        )
    if not math.isfinite(options.minutes):
        raise GeminoError("--minutes must be a number; to train for --steps alone give a large one")
