"""How close a picture is to its original: LPIPS, SSIM and PSNR."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

import gemino
from gemino.errors import ModelError
from gemino.frames import Frame
from gemino.nn.lpips import Lpips

_ALEX_SHA256 = "fd8b43e822abfbfb749eb9239a87b22661881ab406178ed44e1ee23d9abad9dc"
_VGG_KEY = "features.28.weight"
"""A weight that only VGG16 has; tells the two backbones apart."""

# Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
# Similarity", IEEE TIP 2004: an 11x11 Gaussian window of deviation 1.5, K1 0.01, K2 0.03.
_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_SSIM_C1 = (0.01 * 255) ** 2
_SSIM_C2 = (0.03 * 255) ** 2


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
    package = Path(gemino.__path__[0])
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


def to_tensor(frames: Iterable[Frame]) -> torch.Tensor:
    """Frames of one size as a tensor [B, 3, H, W], float32 in 0..1."""
    stacked = np.stack([np.ascontiguousarray(frame) for frame in frames])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def lpips(network: Lpips, a: Frame, b: Frame) -> float:
    """LPIPS between two frames of one size, at least 64 px a side."""
    with torch.inference_mode():
        return float(network(to_tensor([a]), to_tensor([b])))


def psnr(a: Frame, b: Frame) -> float:
    """Peak signal-to-noise ratio over all three channels in dB; infinite for equal frames."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: Frame, b: Frame) -> float:
    """Structural similarity of the luma (BT.601) in -1..1; frames of one size, at least 11 px.

    Only where the window lies inside the picture counts, as in the authors' program.
    """
    x, y = _luma(a), _luma(b)
    mean_x, mean_y = _window(x), _window(y)
    variance_x = _window(x * x) - mean_x**2
    variance_y = _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    scale = (mean_x**2 + mean_y**2 + _SSIM_C1) * (variance_x + variance_y + _SSIM_C2)
    return float(np.mean(alike / scale))


def _luma(frame: Frame) -> NDArray[np.float64]:
    return np.asarray(frame.astype(np.float64) @ np.array([0.299, 0.587, 0.114]), np.float64)


def _window(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted mean of `plane` [H, W] under the window, [H - 10, W - 10]."""
    blurred = cv2.GaussianBlur(plane, (_SSIM_WINDOW, _SSIM_WINDOW), _SSIM_SIGMA)
    edge = _SSIM_WINDOW // 2
    return np.asarray(blurred, np.float64)[edge:-edge, edge:-edge]
