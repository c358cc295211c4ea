"""How close a picture is to its original: LPIPS, SSIM, PSNR, and how much it flickers."""

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gemino.frames import Frame, resize
from gemino.nn.lpips import Lpips
from gemino.nn.pictures import to_tensor

# Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
# Similarity", IEEE TIP 2004: an 11x11 Gaussian window of deviation 1.5, K1 0.01, K2 0.03.
_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_SSIM_C1 = (0.01 * 255) ** 2
_SSIM_C2 = (0.03 * 255) ** 2
_CROP_PX = 128
_GREY = 128
_ORIGINAL_SSIM_PX = 256


def use_one_thread() -> None:
    """Measure on one core, for the whole process.

    As soon as anything else runs on the machine, threads that wait for each other make LPIPS
    slower, not faster: 1.3 s a pair in place of 0.3 on two busy cores.
    """
    torch.set_num_threads(1)


def lpips(network: Lpips, a: Frame, b: Frame, *, unscaled: bool = False) -> float:
    """LPIPS between two frames of one size, at least 64 px a side.

    unscaled: as the original Gemino's figures are, with 0..1 in place of -1..1.
    """
    with torch.inference_mode():
        return float(network(to_tensor([a]), to_tensor([b]), unscaled=unscaled))


def crop_lpips(network: Lpips, a: Frame, b: Frame) -> float:
    """LPIPS between two crops of one size, however small: both resized to 128 px first."""
    return lpips(network, resize(a, _CROP_PX), resize(b, _CROP_PX))


def flicker(network: Lpips, source: tuple[Frame, Frame], decoded: tuple[Frame, Frame]) -> float:
    """LPIPS between what changes from one frame to the next in the source and in the decoded.

    Each pair becomes one picture: the later frame minus the earlier one, around mid-grey. An
    error that stands still cancels out; one that comes and goes does not.
    """
    return lpips(network, _change(*source), _change(*decoded))


def original_ssim(a: Frame, b: Frame) -> float:
    """SSIM as the original Gemino's figures are: both frames at 256 px."""
    return ssim(resize(a, _ORIGINAL_SSIM_PX), resize(b, _ORIGINAL_SSIM_PX))


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


def _change(before: Frame, after: Frame) -> Frame:
    difference = after.astype(np.int16) - before.astype(np.int16)
    return np.clip(difference + _GREY, 0, 255).astype(np.uint8)


def _luma(frame: Frame) -> NDArray[np.float64]:
    return np.asarray(frame.astype(np.float64) @ np.array([0.299, 0.587, 0.114]), np.float64)


def _window(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted mean of `plane` [H, W] under the window, [H - 10, W - 10]."""
    blurred = cv2.GaussianBlur(plane, (_SSIM_WINDOW, _SSIM_WINDOW), _SSIM_SIGMA)
    edge = _SSIM_WINDOW // 2
    return np.asarray(blurred, np.float64)[edge:-edge, edge:-edge]
