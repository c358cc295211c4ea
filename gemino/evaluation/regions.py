"""Where the eyes and the mouth are in a clip: from landmarks, or from boxes stored beside it.

`CLIP.regions.json` lies beside `CLIP.mp4` and holds a line for each frame: null where no face was
found, else a square each for the face, the mouth and both eyes as left, top and side in
thousandths of the cropped frame. scripts/write_regions.py writes it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gemino.errors import MediaError
from gemino.evaluation.clips import Footage
from gemino.evaluation.landmarks import EYES, LIPS, Face, FaceLandmarker, Points
from gemino.evaluation.pictures import Box
from gemino.frames import Frame

SUFFIX = ".regions.json"
_FORMAT = 1
_UNIT = 1000
_MAX_FILE_BYTES = 10_000_000
_MIN_SIDE = 4
# Squares are so many times as large as the landmarks that they are put around.
_FACE_MARGIN, _MOUTH_MARGIN, _EYE_MARGIN = 1.1, 1.3, 1.8
_NOTHING_STORED = "no boxes beside the clip, and no --landmarks"
_NO_FACE = "no face found"


class Regions(NamedTuple):
    """The squares of one frame, in pixels."""

    face: Box
    mouth: Box
    eyes: tuple[Box, Box]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The faces of some footage's measured frames, by place.

    regions: of the frames with a face. landmarks: likewise; empty where the regions were stored.
    missing: why there are no regions; empty where there are.
    """

    regions: Mapping[int, Regions] = field(default_factory=dict)
    landmarks: Mapping[int, Face] = field(default_factory=dict)
    missing: str = ""


def faces(footage: Footage, clip: Path, landmarker: FaceLandmarker | None) -> Faces:
    """The faces of `footage`, which was loaded from `clip`.

    Raises MediaError for stored boxes that are damaged or of another clip.
    """
    if landmarker is None:
        return _stored(footage, clip.with_suffix(SUFFIX))
    found = {place: landmarker.find(frame) for place, frame in footage.originals.items()}
    landmarks = {place: face for place, face in found.items() if face is not None}
    regions = {place: around(face.points, footage.size_px) for place, face in landmarks.items()}
    return Faces(regions, landmarks, "" if regions else _NO_FACE)


def around(points: Points, size_px: int) -> Regions:
    """The squares around `points` in a frame of `size_px`."""
    eyes = [_square(points[list(eye)], _EYE_MARGIN, size_px) for eye in EYES]
    return Regions(
        _square(points, _FACE_MARGIN, size_px),
        _square(points[list(LIPS)], _MOUTH_MARGIN, size_px),
        (eyes[0], eyes[1]),
    )


def write(path: Path, frames: Iterable[Frame], landmarker: FaceLandmarker) -> tuple[int, int]:
    """Find the face in each of a clip's square frames and store its boxes at `path`.

    Returns how many frames there are, and how many show a face. Raises MediaError where the file
    cannot be written.
    """
    rows: list[list[int] | None] = []
    for frame in frames:
        face = landmarker.find(frame)
        side = frame.shape[0]
        rows.append(None if face is None else _row(around(face.points, side), side))
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = f'{{"format": {_FORMAT}, "unit": {_UNIT}, "frames": [\n{lines}\n]}}\n'
    try:
        path.write_text(text)
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
    return len(rows), sum(row is not None for row in rows)


def _stored(footage: Footage, path: Path) -> Faces:
    if not path.is_file():
        return Faces(missing=_NOTHING_STORED)
    rows = _read(path)
    if len(rows) < len(footage.pictures):
        raise MediaError(
            f"{path}: has {len(rows)} frames, its clip more; write it again or remove it"
        )
    regions = {
        place: _regions(row, footage.size_px)
        for place in footage.originals
        if (row := rows[place]) is not None
    }
    return Faces(regions, missing="" if regions else _NO_FACE)


def _read(path: Path) -> Sequence[list[int] | None]:
    problem = f"{path}: holds no regions; write it again or remove it"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise MediaError(problem)
        stored = json.loads(path.read_text())
        if stored["format"] != _FORMAT or stored["unit"] != _UNIT:
            raise MediaError(problem)
        rows = stored["frames"]
        good = all(row is None or _is_row(row) for row in rows)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MediaError(problem) from error
    if not isinstance(rows, list) or not good:
        raise MediaError(problem)
    return rows


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 12
        and all(type(value) is int and 0 <= value <= _UNIT for value in row)
        and all(
            row[at] + row[at + 2] <= _UNIT and row[at + 1] + row[at + 2] <= _UNIT
            for at in range(0, 12, 3)
        )
    )


def _row(regions: Regions, size_px: int) -> list[int]:
    values: list[int] = []
    for box in (regions.face, regions.mouth, *regions.eyes):
        side = min(round(box.side * _UNIT / size_px), _UNIT)
        values += [min(round(at * _UNIT / size_px), _UNIT - side) for at in (box.left, box.top)]
        values.append(side)
    return values


def _regions(row: Sequence[int], size_px: int) -> Regions:
    boxes = []
    for at in range(0, 12, 3):
        left, top, side = (value * size_px / _UNIT for value in row[at : at + 3])
        boxes.append(_inside(left, top, side, size_px))
    return Regions(boxes[0], boxes[1], (boxes[2], boxes[3]))


def _square(points: Points, margin: float, size_px: int) -> Box:
    low, high = points.min(0), points.max(0)
    side = float((high - low).max()) * margin
    left, top = np.asarray((low + high - side) / 2, np.float64).tolist()
    return _inside(left, top, side, size_px)


def _inside(left: float, top: float, side: float, size_px: int) -> Box:
    whole = min(max(round(side), _MIN_SIDE), size_px)
    return Box(
        min(max(round(left), 0), size_px - whole), min(max(round(top), 0), size_px - whole), whole
    )
