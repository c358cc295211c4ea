"""From a trained network to a model folder that anyone can check and rebuild."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.torch import save_file

from gemino.config import ModelConfig, Sampling
from gemino.frames import resize
from gemino.nn.model import build, count_macs
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.training.sequence import REFERENCE_BUDGETS, Sequence
from gemino.training.trainer import VALIDATION_FRAMES, Look, Trainer
from gemino.training.workers import Workers
from gemino.zoo import write_config

GOLDEN_OUTPUT_PX = 256
GOLDEN_LR_PX = 64
GOLDEN_LEVEL = -5.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from.

    clips: folder trained on. left_out: clips of it that could not be used, and why. command:
    rebuilds it. vgg: whether VGG16 judged too. watched: the LR stream of validation, in words.
    """

    clips: Path
    left_out: Mapping[str, str]
    command: str
    vgg: bool
    watched: str


def publish(
    folder: Path,
    config: ModelConfig,
    trainer: Trainer,
    sequences: list[Sequence],
    look: Look | None,
    origin: Provenance,
) -> Path:
    """Write weights, config.toml, card.md and golden.npz into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: x.detach().float().contiguous() for name, x in trainer.average.weights.items()}
    save_file(weights, folder / "model.safetensors")
    gmac = count_macs(build(config), 1024, 128) / 1e9
    facts: dict[str, str | int | float | bool] = {
        "parameters": sum(x.numel() for x in weights.values()),
        "gmac_1024": round(gmac, 3),
        "steps": trainer.clock.step,
        "hours": round(trainer.clock.seconds / 3600, 2),
        "clips": len({sequence.name for sequence in sequences}),
        "clips_left_out": len(origin.left_out),
    }
    if look is not None:
        facts["validation_lpips_alex"] = round(look.mean, 4)
    files = write_config(folder, config, facts)
    _golden(folder, TorchSynthesizer(files, GOLDEN_OUTPUT_PX, device="cpu", precision="float32"))
    (folder / "card.md").write_text(_card(config, facts, trainer, sequences, look, origin))
    return folder


def _golden(folder: Path, synthesizer: TorchSynthesizer) -> None:
    """Inputs and output of one frame, to hold other runtimes and later versions against.

    Made pictures rather than anyone's face: smooth colours with an edge, moved by a few pixels.
    """
    down, across = np.mgrid[0:GOLDEN_OUTPUT_PX, 0:GOLDEN_OUTPUT_PX] / GOLDEN_OUTPUT_PX
    waves = [np.sin(9 * across + 3 * down + phase) for phase in (0.0, 1.0, 2.0)]
    disc = np.hypot(across - 0.5, down - 0.45) < 0.25
    picture = np.stack([128 + 80 * wave * (1 + disc) / 2 for wave in waves], axis=-1)
    texture = np.random.default_rng(0).normal(0, 12, picture.shape)
    reference = np.clip(picture + texture, 0, 255).astype(np.uint8)
    lr = resize(np.roll(reference, (3, -5), (0, 1)), GOLDEN_LR_PX)
    synthesizer.add_reference(reference)
    output = synthesizer.synthesize(lr, Sampling(GOLDEN_LR_PX), GOLDEN_LEVEL)
    np.savez_compressed(
        folder / "golden.npz",
        reference=reference,
        lr=lr,
        log2_bits_per_pixel=np.float32(GOLDEN_LEVEL),
        output=output,
    )


def _card(
    config: ModelConfig,
    facts: dict[str, str | int | float | bool],
    trainer: Trainer,
    sequences: list[Sequence],
    look: Look | None,
    origin: Provenance,
) -> str:
    rungs = {rung for sequence in sequences for rung in sequence.lr}
    rates = sorted(rung.video_kbps for rung in rungs)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 -- Markdown for people, from our own values
    )
    return environment.get_template("card.md.jinja").render(
        config=config,
        facts=facts,
        look=look,
        origin=origin,
        hardware=_hardware(trainer.workers),
        examples=trainer.sampler.batch * trainer.sampler.parts * trainer.workers.count,
        learning_rate=trainer.config.learning_rate,
        sizes=", ".join(str(px) for px in sorted({rung.size_px for rung in rungs})),
        rates=f"{rates[0]:g} to {rates[-1]:g}",
        budgets=" and ".join(f"{budget:,}" for budget in REFERENCE_BUDGETS),
        pictures=sum(len(sequence.frames) for sequence in sequences),
        output_px=sequences[0].frames.shape[1],
        sequences=len(sequences),
        tiers=" ".join([_tiers(origin.clips), *_left_out(origin.left_out)]),
        watched=origin.watched,
        looked_at=VALIDATION_FRAMES,
    )


def _tiers(clips: Path) -> str:
    """Licence tiers, where the folder or the one above holds a manifest.json that states them."""
    for manifest in (clips / "manifest.json", clips.parent / "manifest.json"):
        if manifest.is_file():
            table = json.loads(manifest.read_text())
            names = {path.name for path in clips.iterdir()}
            chosen = [clip for clip in table["clips"] if Path(clip["file"]).name in names]
            people = len({clip["identity"] for clip in chosen})
            count = Counter(clip["tier"] for clip in chosen)
            parts = [
                f"{count[tier]} of tier {tier} ({meaning})"
                for tier, meaning in sorted(table["tiers"].items())
                if count[tier]
            ]
            return f"{people} people. Licence tiers: {'; '.join(parts)}. No footage is shipped."
    return "Licences of the footage were not stated."


def _left_out(clips: Mapping[str, str]) -> list[str]:
    """A sentence that names the clips that could not be used; none where there are none."""
    if not clips:
        return []
    named = "; ".join(f"{name} ({why})" for name, why in sorted(clips.items()))
    return [
        f"Clips of the folder that could not be used, and were left out: {len(clips)}, {named}."
    ]


def _hardware(workers: Workers) -> str:
    if workers.device.startswith("cuda"):
        name = torch.cuda.get_device_name()
        return f"{workers.count} x {name}" if workers.count > 1 else name
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
