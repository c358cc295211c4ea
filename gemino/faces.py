"""Where the face is: BlazeFace (Bazarevsky et al. 2019), MediaPipe's own weights, run by OpenCV.

The network ships with the project (models/blazeface, Apache-2.0). It takes 128 px, sees faces from
a tenth of the picture up, and costs little beside a frame.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.config import FOVEA_GRID, FOVEA_RADII, Fovea
from gemino.errors import ModelError
from gemino.frames import Frame, resize

_INPUT_PX = 128
_GRIDS = ((16, 2), (8, 6))
"""Boxes count from the cells of these grids, so many boxes in each cell."""
_CERTAIN = 0.5
_SAME_FACE = 0.3
"""Boxes whose intersection is so much of their union are of one face."""
_FOVEA = 0.55
"""A fovea's radius over the box's side: the box spans brows to chin, and hair stays outside."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceBox:
    """centre [2], side: a square around the face in pixels of the frame, x before y. eyes [2]: from
    the one on the left to the one on the right."""

    centre: NDArray[np.float64]
    side: float
    eyes: NDArray[np.float64]

    def fovea(self, frame_px: int) -> Fovea:
        """The fovea for this face in a square frame of `frame_px`."""
        x, y, radius = np.array([*self.centre, _FOVEA * self.side]) / frame_px * FOVEA_GRID
        places = np.clip(np.round([x, y]), 0, FOVEA_GRID)
        return Fovea(int(places[0]), int(places[1]), int(np.clip(round(radius), *FOVEA_RADII)))


class FaceFinder(Protocol):
    """Whatever finds the faces of a frame; its boxes mean what those of `FaceDetector` mean."""

    def find_all(self, frame: Frame) -> list[FaceBox]:
        """All faces in `frame` [S, S, 3], the one to go by first."""


class FaceDetector:
    """Finds the faces of a frame.

    network: a .tflite file's bytes. Raises ModelError, with `name`, where they are no network.
    """

    def __init__(self, network: bytes, name: str) -> None:
        try:
            self._network = cv2.dnn.readNetFromTFLite(np.frombuffer(network, np.uint8))
        except cv2.error as error:
            raise ModelError(f"{name}: is no face detector") from error
        self._anchors = np.concatenate([_grid(cells, boxes) for cells, boxes in _GRIDS])

    def find(self, frame: Frame) -> FaceBox | None:
        """The clearest face in `frame` [S, S, 3]; None where there is none."""
        scores, boxes = self._run(frame)
        best = int(np.argmax(scores))
        return self._box(boxes, best, frame.shape[0]) if scores[best] >= _CERTAIN else None

    def find_all(self, frame: Frame) -> list[FaceBox]:
        """All faces in `frame` [S, S, 3], the clearest first."""
        scores, boxes = self._run(frame)
        found: list[FaceBox] = []
        for place in np.argsort(-scores)[: int((scores >= _CERTAIN).sum())]:
            box = self._box(boxes, int(place), frame.shape[0])
            if all(_overlap(box, other) < _SAME_FACE for other in found):
                found.append(box)
        return found

    def _run(self, frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each anchor's score 0..1 and box, [n] and [n, 16]."""
        small = resize(frame, _INPUT_PX).astype(np.float32)
        self._network.setInput(cv2.dnn.blobFromImage(small / 127.5 - 1))
        scores, boxes = self._network.forward(["classificators", "regressors"])
        logits = np.clip(scores.reshape(-1).astype(np.float64), -60, 60)
        return 1 / (1 + np.exp(-logits)), boxes.reshape(-1, 16).astype(np.float64)

    def _box(self, boxes: NDArray[np.float64], place: int, frame_px: int) -> FaceBox:
        # Centre, size and six points, the eyes first, in pixels of the small picture.
        values = boxes[place].reshape(8, 2).copy()
        values[[0, *range(2, 8)]] += self._anchors[place] * _INPUT_PX
        values *= frame_px / _INPUT_PX
        return FaceBox(values[0], float(values[1].max()), values[3] - values[2])


def shipped() -> FaceDetector:
    """The detector that comes with the project; ModelError where its file is missing."""
    package = Path(__file__).resolve().parent
    inside = package / "models" / "blazeface" / "model.tflite"  # of an installed package
    path = inside if inside.exists() else package.parent / inside.relative_to(package)
    try:
        return FaceDetector(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(f"no face detector in {path}: install gemino again") from error


def _overlap(a: FaceBox, b: FaceBox) -> float:
    """Intersection over union of both squares."""
    reach = (a.side + b.side) / 2 - np.abs(a.centre - b.centre)
    sides = np.clip(np.minimum(reach, min(a.side, b.side)), 0, None)
    shared = float(sides.prod())
    return shared / max(a.side**2 + b.side**2 - shared, 1e-9)


def _grid(cells: int, boxes: int) -> NDArray[np.float64]:
    """Centres of the cells in 0..1, row by row, each repeated for its boxes: [n, 2]."""
    centres = (np.arange(cells) + 0.5) / cells
    x, y = np.meshgrid(centres, centres)
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), boxes, axis=0)
