"""A training from start to finish: folders of clips in, a model folder out."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gemino.config import ModelConfig, NetworkSize, Rung
from gemino.errors import GeminoError
from gemino.nn.lpips import Lpips
from gemino.nn.model import build
from gemino.runtime.memory import keep_freed_memory
from gemino.runtime.perceptual import load_lpips
from gemino.training.clips import Sampler, build_all, draw_settings, list_clips
from gemino.training.degrade import Sequence, SequenceSettings
from gemino.training.losses import Losses, LossWeights
from gemino.training.publish import Provenance, publish
from gemino.training.trainer import Look, Report, Trainer, TrainingConfig
from gemino.training.workers import Workers, join, leave
from gemino.zoo import find

VALIDATION_RUNG = Rung("av1", 128, 12.0)
VALIDATION_REFERENCE_BYTES = 20_000
_WATCHED = f"AV1 of {VALIDATION_RUNG.size_px} px at {VALIDATION_RUNG.video_kbps:g} kbps"
_VGG_PX = 128
_REPORT_EVERY = 20


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What to train, on what, for how long, and where everything goes.

    clips, validation: folders of clips. minutes, steps: whichever ends first. batch: examples a
    step and worker. output_px, crop_px: sides of the training pictures, and of the window that
    LPIPS judges. views: sequences made of each clip. vgg: LPIPS VGG16 weights, for that loss
    too. start: a model whose weights to begin with. cache, runs, models: folders for decoded
    sequences, checkpoints and curves, and the finished model.
    """

    clips: Path
    name: str
    validation: Path | None = None
    size: NetworkSize = "s"
    minutes: float = 100.0
    steps: int = 1_000_000
    batch: int = 4
    output_px: int = 512
    crop_px: int = 256
    views: int = 2
    learning_rate: float = 5e-4
    vgg: Path | None = None
    seed: int = 0
    device: str = "auto"
    cache: Path = Path(".cache/sequences")
    runs: Path = Path("runs")
    models: Path = Path("models")
    resume: bool = True
    start: str | None = None
    validate_every: int = 500


def run(options: TrainingOptions, arguments: str, console: Console) -> Path:
    """Train, and return the folder of the finished model.

    arguments: of the command, for the card. Interrupted, it leaves a checkpoint and raises
    KeyboardInterrupt; run again, it goes on from there. Raises GeminoError for unusable input.
    """
    device = _device(options.device)
    keep_freed_memory()
    workers = join(device)
    if workers.count > 1:
        torch.set_num_threads(max((os.cpu_count() or 1) // workers.count, 1))
    if not workers.leads:
        console = Console(quiet=True)
    torch.manual_seed(options.seed)
    sequences, watched = _sequences(options, workers, console)
    alex = load_lpips().to(device)
    vgg = load_lpips(options.vgg).to(device) if options.vgg else None
    losses = Losses(LossWeights(), options.crop_px, min(_VGG_PX, options.crop_px), alex, vgg)
    config = ModelConfig(options.name, options.size)
    settings = TrainingConfig(
        options.steps,
        options.minutes,
        options.learning_rate,
        device=device,
        validate_every=options.validate_every,
    )
    sampler = Sampler(sequences, options.batch, options.crop_px, options.seed, workers.rank)
    trainer = Trainer(settings, build(config), losses, sampler, workers)

    folder = options.runs / options.name
    folder.mkdir(parents=True, exist_ok=True)
    if options.resume and trainer.resume(folder):
        console.print(f"going on from step {trainer.clock.step}")
    elif options.start is not None:
        trainer.start_from(find(options.start))
    _train(trainer, folder, watched, alex, console)
    leave(workers)
    if not workers.leads:
        return options.models / options.name
    look = trainer.validate(watched, alex) if watched else None
    start = f"torchrun --nproc-per-node {workers.count} scripts/train.py"
    command = f"{start if workers.count > 1 else 'gemino train'} {arguments}"
    origin = Provenance(options.clips, command, device, vgg is not None, _WATCHED)
    written = publish(options.models / options.name, config, trainer, sequences, look, origin)
    console.print(f"the model is in {written}")
    return written


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise GeminoError("this machine has no usable CUDA device; use --device cpu")
    return name


def _sequences(
    options: TrainingOptions, workers: Workers, console: Console
) -> tuple[list[Sequence], list[Sequence]]:
    """Training and validation sequences; the leading worker builds them, the others find them."""
    if not workers.leads:
        workers.wait()
    training = _training_sequences(options, console)
    watched = _validation_sequences(options, console) if options.validation else []
    if workers.leads:
        workers.wait()
    return training, watched


def _training_sequences(options: TrainingOptions, console: Console) -> list[Sequence]:
    def settings(clip: int, view: int) -> SequenceSettings:
        rng = np.random.default_rng([options.seed, clip, view])
        return draw_settings(options.output_px, view, rng)

    jobs = [
        (path, settings(clip, view))
        for view in range(options.views)
        for clip, path in enumerate(list_clips(options.clips))
    ]
    return _build("training clips", jobs, options.cache, console)


def _validation_sequences(options: TrainingOptions, console: Console) -> list[Sequence]:
    settings = SequenceSettings(
        options.output_px,
        (VALIDATION_RUNG,),
        references=2,
        reference_bytes=(VALIDATION_REFERENCE_BYTES,),
    )
    assert options.validation is not None
    jobs = [(path, settings) for path in list_clips(options.validation)]
    return _build("validation clips", jobs, options.cache, console)


def _build(
    what: str, jobs: list[tuple[Path, SequenceSettings]], cache: Path, console: Console
) -> list[Sequence]:
    with _bar(console) as bar:
        task = bar.add_task(what, total=len(jobs), note="")

        def advance(line: str) -> None:
            bar.update(task, advance=1)
            if not line.endswith("is ready"):
                console.print(line)

        return build_all(jobs, cache, workers=os.cpu_count() or 1, progress=advance)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:5.1f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


def _train(
    trainer: Trainer, folder: Path, watched: list[Sequence], alex: Lpips, console: Console
) -> None:
    """The loop, with a bar, curves and pictures."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as curves, _bar(console) as bar:
        task = bar.add_task("training", total=1.0, note="")

        def report(step: Report) -> None:
            note = " ".join(f"{name} {value:.3f}" for name, value in step.terms.items())
            bar.update(task, completed=step.fraction, note=f"step {step.step} {note}")
            if step.step % _REPORT_EVERY:
                return
            if not console.is_terminal:  # a bar in a log file shows nothing until the end
                console.print(f"{step.fraction:.1%} step {step.step} {note}", soft_wrap=True)
            for name, value in {**step.terms, "learning_rate": step.learning_rate}.items():
                curves.add_scalar(name, value, step.step)

        def look(seen: Look) -> None:
            curves.add_scalar("validation/lpips", seen.mean, seen.step)
            curves.add_image("validation", seen.grid, seen.step, dataformats="HWC")
            line = {"step": seen.step, "seconds": trainer.clock.seconds, "lpips": seen.lpips}
            with (folder / "validation.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            console.print(f"step {seen.step}: LPIPS of people not trained on {seen.mean:.4f}")

        trainer.run(folder, report, look, watched, alex)
