"""The judge of pictures: LPIPS from the shipped AlexNet weights, or from a given file."""

import hashlib
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gemino.errors import ModelError
from gemino.nn.lpips import Lpips

_ALEX_SHA256 = "fd8b43e822abfbfb749eb9239a87b22661881ab406178ed44e1ee23d9abad9dc"
_VGG_KEY = "features.28.weight"
"""A weight that only VGG16 has; tells the two backbones apart."""


def load_lpips(path: Path | None = None) -> Lpips:
    """LPIPS v0.1 with the shipped AlexNet weights, or with those in the .npz at `path`.

    The shipped file's checksum is verified: a figure from other weights compares with nothing.
    ModelError where the weights are missing, damaged or of another network.
    """
    if path is not None:
        return _load_npz(path)
    shipped = _shipped()
    try:
        data = shipped.read_bytes()
        if hashlib.sha256(data).hexdigest() != _ALEX_SHA256:
            raise ModelError(f"{shipped} is not the LPIPS that figures are published with")
        return Lpips(load_file(shipped), "alex")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"no LPIPS weights in {shipped}: install gemino again") from error


def _shipped() -> Path:
    """The shipped weights: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "models" / "lpips-alex" / "model.safetensors"
    return inside if inside.exists() else package.parent / inside.relative_to(package)


def _load_npz(path: Path) -> Lpips:
    problem = f"cannot read LPIPS weights from {path}: pass a .npz file"
    if not is_zipfile(path):
        raise ModelError(problem)
    try:
        with np.load(path, allow_pickle=False) as archive:
            weights = {name: torch.from_numpy(archive[name]) for name in archive.files}
    except (OSError, EOFError, ValueError, TypeError, BadZipFile) as error:
        raise ModelError(problem) from error
    return Lpips(weights, "vgg" if _VGG_KEY in weights else "alex")
