"""A model that needs no training: the smallest network with random, fixed weights."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from gemino.config import ModelConfig
from gemino.nn.model import build
from gemino.zoo import ModelFiles, write_config


def write_tiny_model(folder: Path) -> ModelFiles:
    """Write the model into `folder`, which is made, and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = ModelConfig("tiny", "xs")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_file(build(config).state_dict(), folder / "model.safetensors")
    return write_config(folder, config, {"trained_on": "nothing"})
