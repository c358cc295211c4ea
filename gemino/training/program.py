"""A training from start to finish: folders of clips in, a model folder out."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from gemino.config import ModelConfig, NetworkSize, Rung
from gemino.errors import GeminoError
from gemino.nn.lpips import Lpips
from gemino.nn.model import build
from gemino.runtime.memory import keep_freed_memory
from gemino.runtime.perceptual import load_lpips
from gemino.training import material, preview
from gemino.training.clips import Sampler, draw_settings
from gemino.training.interrupts import on_interrupt
from gemino.training.logbook import Logbook, counted
from gemino.training.losses import Losses, LossWeights
from gemino.training.material import Job, Material, list_clips
from gemino.training.publish import Provenance, publish
from gemino.training.sequence import Sequence, SequenceSettings
from gemino.training.trainer import Trainer, TrainingConfig
from gemino.training.workers import Workers, join, leave
from gemino.zoo import find

VALIDATION_RUNG = Rung("av1", 128, 8.5)
VALIDATION_REFERENCE_BYTES = 20_000
_WATCHED = f"AV1, {VALIDATION_RUNG.size_px} px, {VALIDATION_RUNG.video_kbps:g} kbps"
_VGG_PX = 128


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What to train, on what, for how long, and where everything goes.

    clips, validation: folders of clips. minutes, steps: whichever ends first. batch: examples at
    once in each worker. accumulate: batches a step. output_px, crop_px: sides of the training
    pictures, and of the window that LPIPS judges. views: sequences made of each clip. vgg: LPIPS
    VGG16 weights, for that loss too. mixed_precision: bfloat16 where it does no harm. threads: of
    each worker on a CPU, 0 for an equal share. start: a model whose weights to begin with. cache,
    runs, models: folders for decoded sequences, checkpoints and curves, and the finished model.
    """

    clips: Path
    name: str
    validation: Path | None = None
    size: NetworkSize = "s"
    minutes: float = 100.0
    steps: int = 1_000_000
    batch: int = 4
    accumulate: int = 1
    output_px: int = 512
    crop_px: int = 256
    views: int = 2
    learning_rate: float = 5e-4
    vgg: Path | None = None
    seed: int = 0
    device: str = "auto"
    mixed_precision: bool = True
    threads: int = 0
    cache: Path = Path(".cache/sequences")
    runs: Path = Path("runs")
    models: Path = Path("models")
    resume: bool = True
    start: str | None = None
    validate_every: int = 500
    save_every_s: float = 240.0


def run(options: TrainingOptions, arguments: str, console: Console) -> Path:
    """Train, and return the folder of the finished model.

    arguments: of the command, for the card. Interrupted, it leaves a checkpoint and raises
    KeyboardInterrupt; run again, it goes on from there. Raises GeminoError for unusable input.
    """
    if find_spec("tensorboard") is None:
        raise GeminoError("training needs TensorBoard: pip install 'gemino[train]'")
    keep_freed_memory()
    workers = join(options.device)
    try:
        return _run(options, arguments, workers, console if workers.leads else Console(quiet=True))
    finally:
        leave(workers)


def _run(options: TrainingOptions, arguments: str, workers: Workers, console: Console) -> Path:
    if options.threads or workers.count > 1:
        share = max((os.cpu_count() or 1) // workers.count, 1)
        torch.set_num_threads(options.threads or share)
    torch.manual_seed(options.seed)
    trained, watched = _material(options, workers, console)
    alex = load_lpips().to(workers.device)
    config = ModelConfig(options.name, options.size)
    trainer = _trainer(options, config, trained.sequences, workers, alex)
    folder = options.runs / options.name
    folder.mkdir(parents=True, exist_ok=True)
    if options.resume and trainer.resume(folder):
        console.print(f"going on from step {trainer.clock.step}")
    elif options.start is not None:
        trainer.start_from(find(options.start))
    workers.check_equal(trainer.clock.step, "the steps done")
    with on_interrupt(trainer.stop), Logbook(folder, trainer.clock, console) as log:
        trainer.run(folder, log.report, log.look, watched, alex)
    if not workers.leads:
        return options.models / options.name
    look = trainer.validate(watched, alex) if watched else None
    start = f"torchrun --nproc-per-node {workers.count} -- scripts/train.py"
    command = f"{start if workers.count > 1 else 'gemino train'} {arguments}"
    origin = Provenance(options.clips, trained.left_out, command, options.vgg is not None, _WATCHED)
    written = publish(
        options.models / options.name, config, trainer, trained.sequences, look, origin
    )
    _sum_up(trainer, trained, written, console)
    return written


def show_batch(options: TrainingOptions, console: Console) -> Path:
    """Make of the clips what one batch needs, draw it as a picture, and return the PNG's path.

    The sequences stay in the cache for the training. Raises GeminoError as `run` does.
    """
    jobs = _training_jobs(options, console)
    places = np.linspace(0, len(jobs) - 1, min(options.batch, len(jobs))).round().astype(int)
    found = _gather("training clips", [jobs[at] for at in places], options.cache, console)
    sampler = Sampler(found.sequences, options.batch, options.crop_px, options.seed)
    batch = sampler.draw(0)
    path = options.runs / options.name / "batch.png"
    preview.write_png(preview.draw(batch), path)
    console.print(
        f"reference | LR stream of {batch.lr.shape[-1]} px, upsampled | target with LPIPS's window"
    )
    console.print(f"a batch is in {path}", soft_wrap=True)
    return path


def _trainer(
    options: TrainingOptions,
    config: ModelConfig,
    sequences: list[Sequence],
    workers: Workers,
    alex: Lpips,
) -> Trainer:
    vgg = load_lpips(options.vgg).to(workers.device) if options.vgg else None
    losses = Losses(LossWeights(), options.crop_px, min(_VGG_PX, options.crop_px), alex, vgg)
    settings = TrainingConfig(
        options.steps,
        options.minutes,
        options.learning_rate,
        bf16=options.mixed_precision,
        save_every_s=options.save_every_s,
        validate_every=options.validate_every,
    )
    sampler = Sampler(
        sequences,
        options.batch,
        options.crop_px,
        options.seed,
        workers.rank,
        options.accumulate,
    )
    return Trainer(settings, build(config), losses, sampler, workers)


def _material(
    options: TrainingOptions, workers: Workers, console: Console
) -> tuple[Material, list[Sequence]]:
    """Training material and validation sequences; the leading worker builds them, the others
    find them."""
    if workers.leads:
        trained = _gather(
            "training clips", _training_jobs(options, console), options.cache, console
        )
        watched = []
        if options.validation is not None:
            jobs = _validation_jobs(options, options.validation)
            watched = _gather("validation clips", jobs, options.cache, console).sequences
        workers.wait()
    else:
        workers.wait()
        jobs = _training_jobs(options, console)
        trained, watched = Material(material.find(jobs, options.cache), {}), []
    workers.check_equal(len(trained.sequences), "the sequences that they find")
    return trained, watched


def _training_jobs(options: TrainingOptions, console: Console) -> list[Job]:
    def settings(clip: int, view: int) -> SequenceSettings:
        rng = np.random.default_rng([options.seed, clip, view])
        return draw_settings(options.output_px, view, rng)

    clips = list_clips(options.clips)
    if not console.quiet:
        for line in material.remarks(clips, options.output_px):
            console.print(line, soft_wrap=True)
    return [
        (path, settings(clip, view))
        for view in range(options.views)
        for clip, path in enumerate(clips)
    ]


def _validation_jobs(options: TrainingOptions, folder: Path) -> list[Job]:
    settings = SequenceSettings(
        options.output_px,
        (VALIDATION_RUNG,),
        references=2,
        reference_bytes=(VALIDATION_REFERENCE_BYTES,),
    )
    return [(path, settings) for path in list_clips(folder)]


def _gather(what: str, jobs: list[Job], cache: Path, console: Console) -> Material:
    with counted(what, len(jobs), console) as advance:
        return material.gather(jobs, cache, os.cpu_count() or 1, advance)


def _sum_up(trainer: Trainer, trained: Material, written: Path, console: Console) -> None:
    """The last lines: what was done, and which clips had no part in it."""
    clips = len({sequence.name for sequence in trained.sequences})
    minutes = trainer.clock.seconds / 60
    console.print(f"{trainer.clock.step} steps in {minutes:.1f} minutes on {clips} clips")
    if trained.left_out:
        console.print(f"clips left out: {len(trained.left_out)}", soft_wrap=True)
        for name, why in sorted(trained.left_out.items()):
            console.print(f"  {name}: {why}", soft_wrap=True)
    console.print(f"the model is in {written}", soft_wrap=True)
