"""The state of a training on disk: safetensors and JSON, replaced whole or not at all."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gemino.errors import ModelError

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Clock:
    """How far a training is: steps done, and seconds of training they took."""

    step: int = 0
    seconds: float = 0.0


class Average:
    """Exponential moving average of a network's weights: what is shipped."""

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights = {name: x.detach().clone() for name, x in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow `model`; faster in the first steps, so that the start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, x in model.state_dict().items():
            self.weights[name].lerp_(x, 1 - decay)


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that training changes; others are frozen."""
    return [(name, x) for name, x in model.named_parameters() if x.requires_grad]


def save(
    folder: Path, model: nn.Module, average: Average, optimizer: torch.optim.Adam, clock: Clock
) -> None:
    """Write the state into `folder`; a crash meanwhile leaves the former one."""
    tensors: dict[str, Tensor] = {}
    for name, x in model.state_dict().items():
        tensors[f"model.{name}"] = x
        tensors[f"average.{name}"] = average.weights[name]
    for name, parameter in trained(model):
        for moment, x in optimizer.state[parameter].items():
            tensors[f"adam.{moment}.{name}"] = x
    tensors = {name: x.detach().contiguous() for name, x in tensors.items()}
    unfinished = folder / "checkpoint.partial"
    metadata = {"step": str(clock.step), "seconds": repr(clock.seconds)}
    save_file(tensors, unfinished, {"clock": json.dumps(metadata)})
    with unfinished.open("rb") as file:  # a power cut must not leave the name without its bytes
        os.fsync(file.fileno())
    unfinished.replace(folder / "checkpoint.safetensors")


def load(
    folder: Path, model: nn.Module, average: Average, optimizer: torch.optim.Adam
) -> Clock | None:
    """Restore the state saved in `folder`; None where there is none yet.

    Raises ModelError where the file is damaged or of another network.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return None
    try:
        tensors = load_file(path)
        clock = _read_clock(path)
        model.load_state_dict(below(tensors, "model."))
        for name, x in average.weights.items():
            x.copy_(tensors[f"average.{name}"])
        for name, parameter in trained(model):
            state = {key: tensors[f"adam.{key}.{name}"] for key in ("step", *_MOMENTS)}
            for key in _MOMENTS:
                state[key] = torch.empty_like(parameter).copy_(state[key])
            optimizer.state[parameter] = state
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"{path} does not fit; delete it to start anew ({error})") from error
    return clock


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, named without it."""
    return {name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}


def _read_clock(path: Path) -> Clock:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    values = json.loads(header["__metadata__"]["clock"])
    return Clock(int(values["step"]), float(values["seconds"]))
