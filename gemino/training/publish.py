"""From a trained network to a model folder that anyone can check and rebuild."""

import json
import platform
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from gemino.config import ModelConfig
from gemino.frames import resize
from gemino.nn.model import build, count_macs
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.training.degrade import Sequence
from gemino.training.trainer import Look, Trainer
from gemino.zoo import write_config

GOLDEN_OUTPUT_PX = 256
GOLDEN_LR_PX = 64
GOLDEN_LEVEL = -5.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from: folder of clips, command, torch device, whether VGG judged too."""

    clips: Path
    command: str
    device: str
    vgg: bool


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
    }
    if look is not None:
        facts["validation_lpips_alex"] = round(look.mean, 4)
    files = write_config(folder, config, facts)
    # With the average in place the card and the golden pictures are of what is shipped.
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
    synthesizer.set_reference(reference)
    output = synthesizer.synthesize(lr, GOLDEN_LEVEL)
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
    pictures = sum(len(sequence.frames) for sequence in sequences)
    judges = "AlexNet and VGG16" if origin.vgg else "AlexNet"
    lines = [
        f"# {config.name}",
        "",
        f"A Gemino network of size `{config.size}`: rebuilds 256 to 1024 px frames of a talking "
        "head from a VP8 stream of 64 to 256 px and one reference picture.",
        "",
        "## Facts",
        "",
        f"- {facts['parameters']:,} parameters, {facts['gmac_1024']} GMAC a frame at 1024x1024, "
        "the reference's features not counted (they are computed once).",
        f"- Trained for {facts['steps']:,} steps of {trainer.sampler.batch * trainer.workers.count} in {facts['hours']} "
        f"hours on {_hardware(origin.device)}; the weights are an exponential moving average.",
        f"- Loss: L1, LPIPS v0.1 ({judges}), and L1 of the moved low-pass; Adam at "
        f"{trainer.config.learning_rate}.",
        "- The codec in the loop is the real one: whole VP8 sequences at 64, 128, 192 and 256 px "
        "and 5 to 50 kbps, references through AV1 at 6 and 10 kB.",
        "",
        "## Data",
        "",
        f"{facts['clips']} clips, {pictures:,} pictures ({trainer.sampler.sequences[0].frames.shape[1]}"
        f" px) in {len(sequences)} sequences. {_tiers(origin.clips)}",
        "",
        "## Figures",
        "",
        *_figures(look),
        "",
        "## Use and limits",
        "",
        "For video calls between people who agree to it. It carries over what the reference shows: "
        "what neither the reference nor the small picture shows is invented (teeth, fine text, "
        "hands coming in). It is no evidence of what a person did or said, and must not be used to "
        "show somebody who is not there. Few people and little data: skin tones, ages, glasses, "
        "headwear and lighting are far from evenly covered.",
        "",
        "## Rebuild",
        "",
        f"    {origin.command}",
        "",
        "Batches follow from the seed; the learning rate follows the time used, so another machine "
        "gives other weights of like quality.",
        "",
    ]
    return "\n".join(lines)


def _figures(look: Look | None) -> list[str]:
    if look is None:
        return ["No validation clips were given."]
    rows = [f"| {name} | {value:.3f} |" for name, value in sorted(look.lpips.items())]
    return [
        "At the end of training, on people it was not trained on: LPIPS v0.1 (AlexNet), VP8 of "
        "128 px at 13 kbps, first picture as reference (9 kB), four pictures a clip.",
        "",
        "| clip | LPIPS |",
        "|---|---|",
        *rows,
        f"| **mean** | **{look.mean:.3f}** |",
    ]


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


def _hardware(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()})"
