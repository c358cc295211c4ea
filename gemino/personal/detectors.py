"""What finds the face in a person's video: BlazeFace, which ships, or the package face-alignment.

The package is loaded where it is asked for, and nowhere else (`alignment.py`).
"""

from collections.abc import Callable
from typing import Literal

import torch

from gemino import faces
from gemino.faces import FaceFinder
from gemino.personal import alignment

DetectorName = Literal["blazeface", "face-alignment"]
DEFAULT_DETECTOR: DetectorName = "blazeface"


def named(detector: DetectorName) -> list[str]:
    """What a run notes of its detector: nothing of the default, nor did those before the choice."""
    return [] if detector == DEFAULT_DETECTOR else [detector]


def make_ready(detector: DetectorName, tell: Callable[[str], None]) -> None:
    """Fetch what `detector` lacks, before anything that takes long. tell: hears of each file.

    Raises RuntimeUnavailable where its package is missing, ModelError where its weights are and
    cannot be fetched.
    """
    if detector == "face-alignment":
        alignment.fetch_weights(tell)


def open_detector(detector: DetectorName, device: str, tell: Callable[[str], None]) -> FaceFinder:
    """`detector`, on `device` (auto, cpu or cuda) where it can choose; raises as `make_ready`."""
    if detector == "blazeface":
        return faces.shipped()
    on_gpu = device != "cpu" and torch.cuda.is_available()
    return alignment.AlignmentDetector("cuda" if on_gpu else "cpu", tell)
