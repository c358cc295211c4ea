"""A personalization from start to finish: videos in, an adapter out, or none.

What is trained is judged on the last part of the video, which it never saw, against the generic
network, with the file as it would be shipped. An adapter that does not win is not written.
"""

import json
import math
import shutil
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TaskID

from gemino import adapters
from gemino.adapters import Size
from gemino.errors import MediaError, ModelError
from gemino.nn.adapter import attach, extract, from_arrays, merged, to_arrays
from gemino.nn.model import GeminoNet
from gemino.personal import footage
from gemino.personal.detectors import DEFAULT_DETECTOR, DetectorName, named
from gemino.personal.judging import (
    AS_FILMED,
    LEAST_GAIN,
    RELIT,
    Verdict,
    Views,
    compare,
    measure,
    views,
)
from gemino.personal.lessons import SEQUENCES, STREAMS, judging, learning, likeness, play
from gemino.personal.publish import publish
from gemino.personal.sheet import write_png
from gemino.personal.takes import MAX_SECONDS
from gemino.personal.variety import VariedSampler
from gemino.runtime.memory import keep_freed_memory
from gemino.runtime.perceptual import load_lpips
from gemino.runtime.torch_runtime import load_network
from gemino.training.interrupts import on_interrupt
from gemino.training.logbook import bar
from gemino.training.losses import Losses, LossWeights
from gemino.training.sequence import Sequence
from gemino.training.trainer import Look, Report, Trainer, TrainingConfig
from gemino.training.workers import join
from gemino.wire import MAX_ADAPTER_BYTES
from gemino.zoo import DEFAULT_MODEL, ModelFiles, find

_PATIENCE = 3
_OVERHEAD_BYTES = 16_000  # the header, and the owner's likeness
_BEST, _BEGUN, _CHECKPOINT = "best.safetensors", "begun.json", "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class PersonalOptions:
    """Whose face, how long, and where everything goes.

    videos: of one person. model: the generic one, which stays as it is. minutes, steps: training
    ends at whichever comes first, or where it no longer helps. rank: of the change to each layer.
    detector: what finds the face.
    views: sequences made of each take. seconds: of video that are used at most. threads: on a CPU,
    0 for torch's own choice. runs, models: folders for what is under way, and for adapters.
    """

    videos: Several[Path]
    name: str
    model: str = DEFAULT_MODEL
    minutes: float = 15.0
    steps: int = 1200
    rank: int = 8
    batch: int = 2
    views: int = 2
    output_px: int = 512
    crop_px: int = 256
    learning_rate: float = 2e-3
    seconds: float = MAX_SECONDS
    detector: DetectorName = DEFAULT_DETECTOR
    validate_every: int = 100
    save_every_s: float = 60.0
    seed: int = 0
    device: str = "auto"
    mixed_precision: bool = True
    threads: int = 0
    resume: bool = True
    runs: Path = Path("runs/personal")
    models: Path = Path("models/personal")


@dataclass(slots=True)
class _Best:
    """The best look so far, and how many came since."""

    folder: Path
    base: ModelFiles
    name: str
    likeness: NDArray[np.float16]
    seen: Views
    trainer: Trainer
    console: Console
    generic: float
    lpips: float = math.inf
    since: int = 0
    shown: tuple[Progress, TaskID] | None = field(default=None, repr=False)

    def look(self, seen: Look) -> None:
        """Keep the averaged weights where they are the best; end where none were for long."""
        write_png(seen.grid, self.folder / "validation.png")
        gain = 1 - seen.mean / self.generic
        self.console.print(f"step {seen.step}: LPIPS {seen.mean:.4f}, {gain:.1%} below generic")
        if seen.mean < self.lpips:
            self.lpips, self.since = seen.mean, 0
            arrays = to_arrays(extract(self.trainer.average.weights))
            base = (self.base.config.name, self.base.sha256)
            sizes = {
                Size(sequence.frames.shape[1], rung.size_px)
                for sequences in self.seen.values()
                for sequence in sequences
                for rung in sequence.lr
            }  # of which `_judge` keeps those where it wins
            data = adapters.to_bytes(self.name, *base, arrays, self.likeness, sizes)
            partial = self.folder / f"{_BEST}.partial"
            partial.write_bytes(data)
            partial.replace(self.folder / _BEST)
        else:
            self.since += 1
        if self.since >= _PATIENCE:
            self.trainer.finish()
        state = {"step": seen.step, "lpips": self.lpips, "since": self.since}
        (self.folder / "best.json").write_text(json.dumps(state))

    def recall(self) -> None:
        """Go on from what a former run had found."""
        try:
            state = json.loads((self.folder / "best.json").read_text())
            step, lpips, since = int(state["step"]), float(state["lpips"]), int(state["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        # A crash may have lost the steps that led to it; then those looks come again.
        if step <= self.trainer.clock.step and (self.folder / _BEST).is_file():
            self.lpips, self.since = lpips, since

    def report(self, step: Report) -> None:
        """Move the bar."""
        if self.shown is not None:
            progress, task = self.shown
            note = " ".join(f"{name} {value:.3f}" for name, value in step.terms.items())
            progress.update(task, completed=step.fraction, note=f"step {step.step} {note}")


@dataclass(frozen=True, slots=True)
class Result:
    """An adapter that was written: its folder, what it is worth, and minutes in all."""

    folder: Path
    verdict: Verdict
    minutes: float


def run(options: PersonalOptions, console: Console) -> Result:
    """Train, and write the adapter.

    Interrupted, it leaves a checkpoint and raises KeyboardInterrupt; run again, it goes on from
    there. Raises MediaError for videos that do not serve, ModelError where the adapter is no better
    than the generic network, GeminoError for other unusable input.
    """
    begun = monotonic()
    base = find(options.model)
    if base.graphs is not None or base.adapter is not None:
        raise ModelError(f"{options.model}: personalize a model itself, no export and no adapter")
    for video in options.videos:
        if not video.exists():  # before anything is made
            raise MediaError(f"{video}: no such file")
    folder = options.runs / options.name
    folder.mkdir(parents=True, exist_ok=True)
    footage.check_space(options.videos, folder, options.seconds)
    _begin(folder, base, options)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    found = footage.prepare(
        options.videos, folder, options.seconds, console.print, options.detector, options.device
    )
    for line in found.warnings:
        console.print(f"note: {line}", soft_wrap=True)
    console.print(
        f"{found.seconds:.0f} s of video are used, the last {found.judged_s:.0f} to judge by: "
        f"{folder / footage.SHEET}",
        soft_wrap=True,
    )
    lessons = learning(found.learned, options.output_px, options.views, options.seed)
    learned = play("video to learn from", lessons, folder, console)
    judged = play("video to judge by", judging(found.judged, options.output_px), folder, console)
    seen = views(judged)
    trainer = _train(options, base, learned, seen, folder, console)
    data, verdict = _judge(base, folder, seen)
    minutes = (monotonic() - begun) / 60
    console.print(
        f"{trainer.clock.step} steps in {trainer.clock.seconds / 60:.1f} minutes, "
        f"{minutes:.1f} in all; LPIPS on the last part: generic "
        f"{verdict.generic:.4f}, personal {verdict.personal:.4f} ({-verdict.gain:+.1%})"
    )
    if verdict.gain < LEAST_GAIN or not verdict.serves:
        raise ModelError(
            f"{options.name}: the adapter is no better than {base.config.name} "
            f"({-verdict.gain:+.1%} LPIPS) and is not kept; film more, or sharper: "
            f"{folder / footage.SHEET} shows what was used"
        )
    trained = (trainer.clock.step, trainer.clock.seconds / 60)
    written = publish(
        options.models / options.name, options.name, base, data, found, verdict, trained
    )
    shutil.copyfile(folder / footage.SHEET, written / footage.SHEET)
    _forget(folder)
    return Result(written, verdict, minutes)


def _begin(folder: Path, base: ModelFiles, options: PersonalOptions) -> None:
    """Note what is trained on what; a checkpoint of anything else does not fit.

    Raises ModelError where there is one, and it is to be gone on from.
    """
    sizes = [[video.name, video.stat().st_size] for video in options.videos if video.exists()]
    now = json.dumps([base.sha256, options.rank, sizes, *named(options.detector)])
    path, checkpoint = folder / _BEGUN, folder / _CHECKPOINT
    if options.resume and checkpoint.exists() and path.exists() and path.read_text() != now:
        raise ModelError(
            f"{folder}: holds a training of other videos, or with another --model, --rank or "
            "--detector; go on with those, or begin anew with --no-resume"
        )
    path.write_text(now)


def _train(
    options: PersonalOptions,
    base: ModelFiles,
    learned: list[Sequence],
    seen: Views,
    folder: Path,
    console: Console,
) -> Trainer:
    alex = load_lpips()
    workers = join(options.device)
    alex = alex.to(workers.device)
    torch.manual_seed(options.seed)
    network = load_network(base)
    attach(network, options.rank)
    _check_size(network, options.rank)
    losses = Losses(LossWeights(motion=0.0), options.crop_px, options.crop_px, alex, None)
    settings = TrainingConfig(
        options.steps,
        options.minutes,
        options.learning_rate,
        warmup_steps=20,
        bf16=options.mixed_precision,
        save_every_s=options.save_every_s,
        validate_every=options.validate_every,
    )
    sampler = VariedSampler(learned, options.batch, options.crop_px, options.seed, STREAMS)
    judged = [*seen[AS_FILMED], *seen[RELIT]]
    trainer = Trainer(settings, network, losses, sampler, workers)
    generic = trainer.validate(judged, alex).mean
    best = _Best(folder, base, options.name, likeness(learned), seen, trainer, console, generic)
    if options.resume and trainer.resume(folder):
        console.print(f"going on from step {trainer.clock.step}")
        best.recall()
    console.print(f"LPIPS of {base.config.name} on the last part: {generic:.4f}")
    with bar(console) as progress, on_interrupt(trainer.stop):
        best.shown = progress, progress.add_task("training", total=1.0, note="")
        trainer.run(folder, best.report, best.look, judged, alex)
    if trainer.clock.step % options.validate_every or not (folder / _BEST).exists():
        best.look(trainer.validate(judged, alex))
    return trainer


def _check_size(network: GeminoNet, rank: int) -> None:
    """Say before the training that its file would be refused."""
    values = sum(x.numel() for x in network.parameters() if x.requires_grad)
    if 2 * values > MAX_ADAPTER_BYTES - _OVERHEAD_BYTES:
        least = rank * (MAX_ADAPTER_BYTES - _OVERHEAD_BYTES) // (2 * values)
        raise ModelError(
            f"with --rank {rank} the adapter would be larger than {MAX_ADAPTER_BYTES} "
            f"bytes; use --rank {max(least, 1)}"
        )


def _judge(base: ModelFiles, folder: Path, seen: Views) -> tuple[bytes, Verdict]:
    """The adapter as it is shipped, and what that file is worth against the generic network."""
    network = load_network(base)
    best = adapters.parse((folder / _BEST).read_bytes())
    personal = merged(network, from_arrays(best.tensors)).eval()
    verdict = compare(measure(network, seen), measure(personal, seen))
    of_base = best.name, best.base, best.base_sha256
    serves = verdict.serves or best.serves
    return adapters.to_bytes(*of_base, best.tensors, best.likeness, serves), verdict


def _forget(folder: Path) -> None:
    """Delete what a finished personalization leaves: the footage, and the way to the adapter."""
    footage.forget(folder)
    shutil.rmtree(folder / SEQUENCES, ignore_errors=True)
    for name in (_CHECKPOINT, _BEGUN, _BEST, "best.json", "validation.png"):
        (folder / name).unlink(missing_ok=True)
