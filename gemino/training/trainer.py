"""The loop: draw, synthesise, judge, step; now and then look, save and show.

Deterministic in (seed, step) but for the learning rate of a training bounded by minutes, which
follows the time used so far.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gemino.config import Rung
from gemino.errors import ModelError
from gemino.nn.lpips import Lpips
from gemino.nn.model import WIDTHS, GeminoNet, rung_vector
from gemino.nn.pictures import to_tensor
from gemino.sampling import glimpse, straighten
from gemino.training import checkpoint
from gemino.training.checkpoint import Average, Clock
from gemino.training.clips import Sampler
from gemino.training.losses import Losses
from gemino.training.sequence import Sequence
from gemino.training.widening import fits, widened
from gemino.training.workers import Workers
from gemino.zoo import ModelFiles

VALIDATION_FRAMES = 4


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How long and how fast.

    steps, minutes: training ends at whichever comes first. learning_rate: Adam's, at its peak.
    bf16: autocast to bfloat16. save_every_s: between checkpoints; 0 saves after every step.
    validate_every: steps between looks at people not trained on.
    """

    steps: int
    minutes: float
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    bf16: bool = True
    save_every_s: float = 240.0
    validate_every: int = 500


@dataclass(frozen=True, slots=True)
class Report:
    """What the loop says after a step; terms are means over this worker's examples of it."""

    step: int
    seconds: float
    learning_rate: float
    terms: dict[str, float]
    fraction: float


@dataclass(frozen=True, slots=True)
class Look:
    """What validation saw: LPIPS per clip, and a grid uint8 [H, W, 3] of
    upsampled LR | synthesised | target, a clip a row."""

    step: int
    lpips: dict[str, float]
    grid: NDArray[np.uint8]

    @property
    def mean(self) -> float:
        """Over the clips."""
        return sum(self.lpips.values()) / len(self.lpips)


class Trainer:
    """Owns the network, its average and its optimiser."""

    def __init__(
        self,
        config: TrainingConfig,
        model: GeminoNet,
        losses: Losses,
        sampler: Sampler,
        workers: Workers | None = None,
    ) -> None:
        self.workers = workers or Workers()
        self.config, self.losses, self.sampler = config, losses, sampler
        self.device = self.workers.device
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.model)
        self._trained = [x for _, x in checkpoint.trained(self.model)]
        self.optimizer = torch.optim.Adam(self._trained, betas=(0.9, 0.98))
        self.clock = Clock()
        self._enough = False
        self._asked = False  # to stop, this worker alone
        self._stops = False  # all workers, after the same step
        self._whole = True  # no update of weights and moments is half done

    def resume(self, folder: Path) -> bool:
        """Go on from the checkpoint in `folder`; False where there is none."""
        clock = checkpoint.load(folder, self.model, self.average, self.optimizer)
        if clock is not None:
            self.clock = clock
        return clock is not None

    def start_from(self, files: ModelFiles) -> None:
        """Begin with the weights of a finished model: all of them where it is of our size or a
        smaller one (see `widening`), else those that estimate motion, alike in every size.

        Raises ModelError where they do not fit.
        """
        small, large = WIDTHS[files.config.size], WIDTHS[self.model.config.size]
        try:
            weights = load_file(files.weights_path)
            if fits(small, large):
                self.model.load_state_dict(widened(weights, small, self.model, large))
            else:
                self.model.motion.load_state_dict(checkpoint.below(weights, "motion."))
        except (SafetensorError, KeyError, IndexError, RuntimeError, OSError) as error:
            raise ModelError(f"{files.path}: is no network of size {files.config.size}") from error
        self.average = Average(self.model)

    def save(self, folder: Path) -> None:
        """Write a checkpoint into `folder`; the leading worker's task."""
        if not self.workers.leads:
            return
        checkpoint.save(folder, self.model, self.average, self.optimizer, self.clock)

    @property
    def fraction(self) -> float:
        """0..1: how much of the training is done."""
        by_time = self.clock.seconds / (60 * self.config.minutes)
        return min(max(self.clock.step / self.config.steps, by_time), 1.0)

    def stop(self) -> None:
        """End after the step under way, and with it all workers; may be called by a signal."""
        self._asked = True

    def finish(self) -> None:
        """Let `run` return as at the end, early; for one worker alone."""
        self._enough = True

    def run(
        self,
        folder: Path,
        report: Callable[[Report], None],
        look: Callable[[Look], None],
        validation: list[Sequence],
        alex: Lpips,
    ) -> None:
        """Train to the end, saving into `folder` on the way and at the end.

        After `stop` it saves and raises KeyboardInterrupt. Any other exception saves too and goes
        on upwards, but for one that leaves a step half done: the last checkpoint stands then.
        """
        saved_at = self.clock.seconds
        try:
            while self.fraction < 1.0 and not self._stops and not self._enough:
                report(self._step())
                if (
                    validation
                    and self.workers.leads
                    and self.clock.step % self.config.validate_every == 0
                ):
                    look(self.validate(validation, alex))
                if self.clock.seconds - saved_at >= self.config.save_every_s:
                    self.save(folder)
                    saved_at = self.clock.seconds
        finally:
            if self.clock.step and self._whole:
                self.save(folder)
        if self._stops and self.fraction < 1.0 and not self._enough:
            raise KeyboardInterrupt

    def _step(self) -> Report:
        start = time.perf_counter()
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, float] = {}
        for part in range(self.sampler.parts):
            for name, mean in self._judge(part).items():
                terms[name] = terms.get(name, 0.0) + mean / self.sampler.parts
        seconds, stops = self.workers.average(
            self._trained, time.perf_counter() - start, self._asked
        )
        norm = torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._whole = False
        # One broken batch must not end hours of training: skip it and say so in the log.
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self.average.update(self.model, self.clock.step)
        self.clock.seconds += seconds
        self.clock.step += 1
        self._whole = True
        # Asked since to stop, a worker among others takes one more step, and tells them.
        self._stops = stops or (self._asked and self.workers.count == 1)
        terms["gradient_norm"] = float(norm)
        return Report(self.clock.step, self.clock.seconds, rate, terms, self.fraction)

    def _judge(self, part: int) -> dict[str, float]:
        """Add the gradients of one batch of this step, for its share; the mean of each term."""
        batch = self.sampler.draw(self.clock.step, part).to(self.device)
        with self._autocast():
            features = self.model.encode_reference(batch.reference, batch.reference_lr)
            synthesis = self.model.explain(features, batch.lr, batch.rung)
            loss, terms = self.losses(batch, features, synthesis, self.clock.step)
        (loss / self.sampler.parts).backward()  # type: ignore[no-untyped-call]
        return terms

    def _learning_rate(self) -> float:
        """Linear warm-up, then a half cosine down to 2 %."""
        warm = min(1.0, (self.clock.step + 1) / self.config.warmup_steps)
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.fraction))
        return self.config.learning_rate * warm * cosine

    def _autocast(self) -> torch.autocast:
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.config.bf16)

    @torch.inference_mode()
    def validate(self, sequences: list[Sequence], alex: Lpips) -> Look:
        """LPIPS of the averaged weights; each sequence's first picture is its reference."""
        trained = {name: x.clone() for name, x in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.weights)
        try:
            lpips: dict[str, float] = {}
            rows = []
            for sequence in sequences:
                distance, row = self._validate_one(sequence, alex)
                lpips[sequence.name] = distance
                rows.append(row)
        finally:
            self.model.load_state_dict(trained)
        return Look(self.clock.step, lpips, np.concatenate(rows))

    def _validate_one(self, sequence: Sequence, alex: Lpips) -> tuple[float, NDArray[np.uint8]]:
        """The mean over the sequence's rungs, and the first one's last picture."""
        seen = [self._validate_rung(sequence, rung, alex) for rung in sequence.lr]
        return sum(distance for distance, _ in seen) / len(seen), seen[0][1]

    def _validate_rung(
        self, sequence: Sequence, rung: Rung, alex: Lpips
    ) -> tuple[float, NDArray[np.uint8]]:
        with self._autocast():
            seen = rebuild(self.model, sequence, rung, VALIDATION_FRAMES, self.device)
        distance = float(alex(seen.shown, seen.target).mean())
        side = seen.target.shape[-1] // 2
        last = [torch.nn.functional.interpolate(x[-1:], (side, side)) for x in seen]
        return distance, _picture(torch.cat(last, dim=3))


class Rebuilt(NamedTuple):
    """Pictures of a sequence, [B, 3, S, S] and lr [B, 3, s, s], in 0..1."""

    lr: Tensor
    shown: Tensor
    target: Tensor


@torch.inference_mode()
def rebuild(
    model: GeminoNet, sequence: Sequence, rung: Rung, count: int, device: str = "cpu"
) -> Rebuilt:
    """`count` pictures of `sequence`, spread over it; its first one is the reference."""
    pictures, levels = sequence.lr[rung]
    places = np.linspace(1, len(pictures) - 1, count).round().astype(int)
    target = to_tensor([sequence.frames[at] for at in places], device)
    seen = [straighten(np.ascontiguousarray(pictures[at]), rung.fovea) for at in places]
    lr = to_tensor(seen, device)
    side = sequence.frames[0].shape[0]
    vectors = [rung_vector(rung.size_px, float(levels[at]), side) for at in places]
    reference = np.ascontiguousarray(sequence.references[0])
    features = model.encode_reference(
        to_tensor([reference] * count, device),
        to_tensor([glimpse(reference, rung.sampling)] * count, device),
    )
    shown = model.synthesize(features, lr, torch.tensor(vectors, device=device))
    return Rebuilt(lr, shown, target)


def _picture(x: Tensor) -> NDArray[np.uint8]:
    """[1, 3, H, W] in 0..1 as uint8 [H, W, 3]."""
    return (x[0].permute(1, 2, 0).float().cpu().numpy() * 255 + 0.5).astype(np.uint8)
