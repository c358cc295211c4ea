"""Face landmarks by MediaPipe's networks, run by OpenCV.

The file is MediaPipe's own `face_landmarker_v2_with_blendshapes.task` (Apache-2.0): a zip with the
detector (BlazeFace, Bazarevsky et al. 2019) and the face mesh (Kartynnik et al. 2019; 478 points).
The package `mediapipe` is not needed, nor wanted: it installs a second OpenCV over the one here.

A mesh sees the face in a square crop, turned so that the eyes lie level. As in MediaPipe the first
crop comes from the detector and the next from the points; here a second look at the same frame
replaces the frame before.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.errors import ModelError
from gemino.faces import FaceDetector
from gemino.frames import Frame

POINTS = 478
Points = NDArray[np.float32]
"""Landmarks [478, 2] as x and y in pixels of the frame."""

_DETECTOR, _MESH = "face_detector.tflite", "face_landmarks_detector.tflite"
_MAX_NETWORK_BYTES = 20_000_000
_MESH_PX = 256
_CERTAIN = 0.5
_CROP = 1.5
"""The mesh's crop is so many times as large as the face."""
_LOOKS = 2

# Numbers of the canonical face mesh.
_INNER_LIPS = (13, 14)
_FOREHEAD_AND_CHIN = (10, 152)
_OUTER_EYES = (33, 263)
LIPS = (61, 291, 0, 17, 37, 267, 84, 314, 40, 270, 91, 321)
EYES = ((33, 133, 159, 145, 158, 153), (263, 362, 386, 374, 385, 380))


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """points: its landmarks. crop: affine matrix [2, 3] from the frame to the mesh's picture."""

    points: Points
    crop: NDArray[np.float64]


class FaceLandmarker:
    """Finds the one clearest face of a frame.

    path: the .task file. Raises ModelError where it is none.
    """

    def __init__(self, path: Path) -> None:
        problem = f"{path}: is no MediaPipe face landmarker; pass its .task file"
        if not is_zipfile(path):
            raise ModelError(problem)
        try:
            with ZipFile(path) as archive:
                self._detector = FaceDetector(_read(archive, _DETECTOR), _DETECTOR)
                mesh = np.frombuffer(_read(archive, _MESH), np.uint8)
                self._mesh = cv2.dnn.readNetFromTFLite(mesh)
        except (OSError, KeyError, ValueError, ModelError, BadZipFile, cv2.error) as error:
            raise ModelError(problem) from error

    def find(self, frame: Frame) -> Face | None:
        """The clearest face in `frame` [S, S, 3], or None."""
        box = self._detector.find(frame)
        crop = None if box is None else _crop(box.centre, box.side * _CROP, box.eyes)
        for _ in range(_LOOKS):
            if crop is None:
                return None
            points, certainty = self._look(frame, crop)
            if certainty < _CERTAIN:
                return None
            face, crop = Face(points, crop), _crop_around(points)
        return face

    def follow(self, frame: Frame, face: Face) -> Points:
        """The landmarks in another version of the frame that `face` was found in.

        The crop is the same, so two versions differ by what they show and not by where one looks.
        """
        return self._look(frame, face.crop)[0]

    def _look(self, frame: Frame, crop: NDArray[np.float64]) -> tuple[Points, float]:
        """The points inside `crop` in pixels of the frame, and how certain a face is there."""
        picture = cv2.warpAffine(frame, crop, (_MESH_PX, _MESH_PX), flags=cv2.INTER_LINEAR)
        self._mesh.setInput(cv2.dnn.blobFromImage(picture.astype(np.float32) / 255))
        points, certainty = self._mesh.forward(["Identity", "Identity_1"])
        flat = points.reshape(POINTS, 3)[:, :2].astype(np.float64)
        back = cv2.invertAffineTransform(crop)
        placed = flat @ back[:, :2].T + back[:, 2]
        return placed.astype(np.float32), _sigmoid(float(certainty.reshape(-1)[0]))


def mouth_opening(points: Points) -> float:
    """Distance of the inner lips over the height of the face; 0 for a closed mouth."""
    lips = np.linalg.norm(points[_INNER_LIPS[0]] - points[_INNER_LIPS[1]])
    height = np.linalg.norm(points[_FOREHEAD_AND_CHIN[0]] - points[_FOREHEAD_AND_CHIN[1]])
    return float(lips / max(float(height), 1e-6))


def _read(archive: ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_NETWORK_BYTES:
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _crop_around(points: Points) -> NDArray[np.float64]:
    """The crop for a second look: the points' box in the direction of the eyes."""
    eyes = (points[_OUTER_EYES[1]] - points[_OUTER_EYES[0]]).astype(np.float64)
    along = eyes / max(float(np.linalg.norm(eyes)), 1e-6)
    axes = np.array([along, [-along[1], along[0]]])
    turned = points @ axes.T
    low, high = turned.min(0), turned.max(0)
    return _crop((low + high) / 2 @ axes, float((high - low).max()) * _CROP, eyes)


def _crop(
    centre: NDArray[np.float64], side: float, eyes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The matrix that brings a square of `side` px, turned as `eyes` [2] point, upright."""
    angle = np.arctan2(eyes[1], eyes[0])
    scale = _MESH_PX / max(side, 1.0)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    offset = _MESH_PX / 2 - turn @ centre
    return np.column_stack([turn, offset])


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
