"""`gemino train`: clips in, a model out."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

from gemino.cli.console import console
from gemino.config import NetworkSize
from gemino.errors import GeminoError


def train(
    clips: Annotated[Path, typer.Argument(help="Folder of clips to train on.")],
    name: Annotated[str, typer.Option(help="Name of the model, a folder below --models.")],
    validation: Annotated[
        Path | None, typer.Option(help="Folder of clips of other people; only looked at.")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the network: xs, s or l.")] = "s",
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of training, at most.")] = 100.0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training, at most.")] = 1_000_000,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Examples a step.")] = 4,
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
    cache: Annotated[Path, typer.Option(help="Where decoded sequences are kept.")] = Path(
        ".cache/sequences"
    ),
    runs: Annotated[Path, typer.Option(help="Where checkpoints and curves go.")] = Path("runs"),
    models: Annotated[Path, typer.Option(help="Where the model is written.")] = Path("models"),
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = True,
    start: Annotated[
        str | None, typer.Option(help="A model, by name or folder, whose weights to begin with.")
    ] = None,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 500,
) -> None:
    """Train a network on a folder of clips, with the real codec in the loop.

    Interrupt it at any time: the same command goes on from the last checkpoint. Curves and
    pictures: `tensorboard --logdir runs`. Needs the extra `train` (pip install 'gemino[train]').

    Example: gemino train clips/ --name mine --validation others/ --minutes 90
    """
    network = next((known for known in get_args(NetworkSize) if known == size), None)
    if network is None:
        raise GeminoError(f"--size must be xs, s or l, not {size!r}")
    if output_px % 8 or crop_px > output_px:
        raise GeminoError("--output-px must be a multiple of 8, and --crop-px no larger")
    from gemino.training.program import TrainingOptions, run

    options = TrainingOptions(
        clips=clips,
        name=name,
        validation=validation,
        size=network,
        minutes=minutes,
        steps=steps,
        batch=batch,
        output_px=output_px,
        crop_px=crop_px,
        views=views,
        learning_rate=learning_rate,
        vgg=vgg,
        seed=seed,
        device=device,
        cache=cache,
        runs=runs,
        models=models,
        resume=resume,
        start=start,
        validate_every=validate_every,
    )
    # The card is for others: of a file or folder it says the name, not where it lay here.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[2:]]
    run(options, shlex.join(words), console)
