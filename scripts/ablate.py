"""A finished model without one of its parts, as models to be measured beside it.

python scripts/ablate.py generic-s out/ablations
gemino evaluate CLIPS/ --kbps 15 --codecs gemino --every 20 --json ablations.json \\
    --model generic-s,$(ls -d out/ablations/* | paste -sd,)
python scripts/results_table.py ablations.json

Parts are switched off by their weights, so the programs that run stay the same. What a network
loses in this way is more than what it would lack, had it been trained without the part: it could
have learned to do without.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gemino import zoo
from gemino.cli.edge import guard

Weights = dict[str, Tensor]
_WIDE_OPEN = 50.0


def zero(weights: Weights, *names: str) -> None:
    """Set these tensors to 0."""
    for name in names:
        weights[name].zero_()


def no_band(weights: Weights) -> None:
    """No high-frequency band of the reference: its gate is shut."""
    weights["generator.gate4.output"][1].zero_()


def no_features(weights: Weights) -> None:
    """No learned features of the reference: their gates are shut."""
    zero(weights, "generator.gate8.output")
    weights["generator.gate4.output"][0].zero_()


def no_reference(weights: Weights) -> None:
    """Nothing of the reference: an ordinary super-resolver."""
    no_band(weights)
    no_features(weights)


def gates_open(weights: Weights) -> None:
    """Everything of the reference, fitting or not."""
    for gate in ("generator.gate4", "generator.gate8"):
        zero(weights, f"{gate}.features.weight", f"{gate}.mismatch")
        weights[f"{gate}.features.bias"].fill_(1.0)
        weights[f"{gate}.output"].fill_(_WIDE_OPEN)


def gates_blind(weights: Weights) -> None:
    """Gates that do not see the mismatch itself, only what the features make of it."""
    zero(weights, "generator.gate4.mismatch", "generator.gate8.mismatch")


def no_refinement(weights: Weights) -> None:
    """Motion of 64 px, not refined at 1/8 and 1/4 of the output's size."""
    for name in ("flow8", "flow4"):
        zero(weights, f"generator.{name}.weight", f"generator.{name}.bias")


def no_motion(weights: Weights) -> None:
    """No motion but what the refinement finds around each place."""
    for level in ("level64", "level32", "level16"):
        for kind in ("weight", "bias"):
            weights[f"motion.{level}.net.4.{kind}"][:2].zero_()


def no_residual(weights: Weights) -> None:
    """Upsampled LR and gated band alone."""
    zero(weights, "generator.residual.weight", "generator.residual.bias")


def no_rung(weights: Weights) -> None:
    """Not told the LR size and the bits per pixel."""
    for scale in ("4", "8"):
        zero(weights, f"generator.modulate{scale}.net.0.weight")


VARIANTS: dict[str, Callable[[Weights], None]] = {
    "no-reference": no_reference,
    "no-band": no_band,
    "no-features": no_features,
    "gates-open": gates_open,
    "gates-blind": gates_blind,
    "no-motion": no_motion,
    "no-refinement": no_refinement,
    "no-residual": no_residual,
    "no-rung": no_rung,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="name or folder of the model")
    parser.add_argument("output", type=Path, help="folder for the variants")
    arguments = parser.parse_args()
    files = zoo.find(arguments.model)
    for name, change in VARIANTS.items():
        weights = load_file(files.weights_path)
        with torch.inference_mode():
            change(weights)
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / "model.safetensors")
        config = replace(files.config, name=name)
        zoo.write_config(folder, config, ladders=files.ladders)
        print(f"{folder}: {(change.__doc__ or '').splitlines()[0]}")


if __name__ == "__main__":
    guard(main)
