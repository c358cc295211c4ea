"""What an adapter learns from and is judged by: takes, played through the codec of a call."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from gemino.config import Rung
from gemino.errors import MediaError
from gemino.faces import shipped
from gemino.identity import choose, describe
from gemino.training import material
from gemino.training.clips import StreamKind
from gemino.training.logbook import counted
from gemino.training.material import Job
from gemino.training.sequence import Sequence, SequenceSettings, View

# From 5 kbps of LR stream up to where detail hardly needs a network; most calls are at 128 px.
STREAMS = {
    StreamKind("av1", 64): (0.10, (5.0,)),
    StreamKind("av1", 128): (0.60, (6.0, 9.0, 15.0)),
    StreamKind("av1", 192): (0.12, (22.0,)),
    StreamKind("av1", 256): (0.12, (32.0,)),
    StreamKind("vp8", 128): (0.06, (12.0,)),
}
JUDGED = (
    Rung("av1", 64, 5.0),
    Rung("av1", 128, 8.0),
    Rung("av1", 128, 14.0),
    Rung("av1", 192, 24.0),
    Rung("av1", 256, 36.0),
)
_JUDGED_REFERENCE_BYTES = 12_000
_KNOWN_BY = Rung("av1", 128, 9.0)
_LOOKS = 12
SEQUENCES = "sequences"
"""Folder of a run that holds them."""


def learning(takes: list[Path], output_px: int, views: int, seed: int) -> list[Job]:
    """Sequences to learn from: each take as filmed, and in `views` - 1 others."""
    rungs = tuple(
        Rung(kind.codec, kind.size_px, kbps)
        for kind, (_, rates) in STREAMS.items()
        for kbps in rates
    )
    return [
        (take, SequenceSettings(output_px, rungs, view=_view(seed, number, view)))
        for view in range(views)
        for number, take in enumerate(takes)
    ]


def _view(seed: int, take: int, view: int) -> View:
    """The first as filmed, others closer, or in another light."""
    if view == 0:
        return View()
    rng = np.random.default_rng([seed, take, view])
    exposure = rng.uniform(0.85, 1.12)
    red, green, blue = (float(exposure * gain) for gain in rng.uniform(0.95, 1.05, 3))
    shift_x, shift_y = rng.uniform(-0.6, 0.6, 2)
    return View(float(rng.uniform(0.72, 0.95)), shift_x, shift_y, (red, green, blue))


def judging(takes: list[Path], output_px: int) -> list[Job]:
    """Sequences to judge by."""
    settings = SequenceSettings(
        output_px, JUDGED, references=2, reference_bytes=(_JUDGED_REFERENCE_BYTES,)
    )
    return [(take, settings) for take in takes]


def likeness(sequences: list[Sequence]) -> NDArray[np.float16]:
    """By what the person is known in an LR stream, [n, 128]. MediaError where no face is seen."""
    detector = shipped()
    seen = []
    for sequence in sequences:
        pictures = sequence.lr[_KNOWN_BY][0]
        places = np.linspace(0, len(pictures) - 1, _LOOKS).round().astype(int)
        found = [describe(detector, np.ascontiguousarray(pictures[at])) for at in places]
        seen += [features for features in found if features is not None]
    if not seen:
        raise MediaError("no face is seen in the small pictures; come closer to the camera")
    return choose(seen)


def play(what: str, jobs: list[Job], folder: Path, console: Console) -> list[Sequence]:
    """The sequences of `jobs`, kept in the run's `folder`; a bar says how far it is.

    Raises MediaError where none can be made.
    """
    workers = min(torch.get_num_threads(), len(jobs))
    with counted(what, len(jobs), console, "through the codec") as advance:
        return material.gather(jobs, folder / SEQUENCES, workers, advance).sequences
