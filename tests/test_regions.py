import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemino.errors import MediaError, ModelError
from gemino.evaluation import clips, regions
from gemino.evaluation.clips import Footage
from gemino.evaluation.landmarks import POINTS, FaceLandmarker, mouth_opening
from gemino.evaluation.pictures import Box
from gemino.frames import prepare
from gemino.media import read_frames

SAMPLES = Path(__file__).parents[1] / "samples"
LANDMARKER = SAMPLES.parent / ".cache" / "face_landmarker_v2_with_blendshapes.task"
needs_landmarker = pytest.mark.skipif(
    not LANDMARKER.is_file(), reason="MediaPipe's face landmarker is not in .cache/"
)


@pytest.fixture(scope="module")
def footage() -> Footage:
    return clips.load(SAMPLES / "webcam.mp4", 512, 5, max_seconds=0.5, play_s=0)


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker(LANDMARKER)


@pytest.mark.parametrize("name", ["webcam", "address"])
def test_the_samples_come_with_their_regions(name: str) -> None:
    clip = SAMPLES / f"{name}.mp4"
    found = regions.faces(clips.load(clip, 256, 8, max_seconds=2, play_s=0), clip, None)
    assert not found.missing
    assert not found.landmarks
    assert len(found.regions) >= 6
    for face, mouth, (left, right) in found.regions.values():
        for box in (face, mouth, left, right):
            assert 0 <= box.left <= 256 - box.side
            assert 0 <= box.top <= 256 - box.side
            assert box.side >= 8
        assert left.left + left.side / 2 < mouth.left + mouth.side / 2 < right.left + right.side / 2
        assert max(left.top, right.top) < mouth.top < face.top + face.side


def test_the_mouth_of_the_webcam_clip_is_where_it_looks_to_be(footage: Footage) -> None:
    mouth = regions.faces(footage, SAMPLES / "webcam.mp4", None).regions[2].mouth
    # By eye, the lips of the first frames span from (213, 345) to (270, 372) of 512.
    assert mouth.left < 213
    assert mouth.left + mouth.side > 270
    assert mouth.top < 345
    assert mouth.top + mouth.side > 372
    assert mouth.side < 110


def test_a_clip_without_boxes_says_so(footage: Footage, tmp_path: Path) -> None:
    found = regions.faces(footage, tmp_path / "clip.mp4", None)
    assert not found.regions
    assert found.missing == "no boxes beside the clip, and no --landmarks"


def test_boxes_of_frames_without_a_face_are_null(footage: Footage, tmp_path: Path) -> None:
    _store(tmp_path, [None] * 15)
    assert regions.faces(footage, tmp_path / "clip.mp4", None).missing == "no face found"


ROW = [100, 100, 500] * 4


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1, 2]",
        "{}",
        '{"format": 2, "unit": 1000, "frames": []}',
        '{"format": 1, "unit": 1000, "frames": 7}',
        json.dumps({"format": 1, "unit": 1000, "frames": [ROW[:11]] * 15}),
        json.dumps({"format": 1, "unit": 1000, "frames": [[*ROW[:11], 901]] * 15}),
        json.dumps({"format": 1, "unit": 1000, "frames": [[*ROW[:11], -1]] * 15}),
        json.dumps({"format": 1, "unit": 1000, "frames": [[*ROW[:11], 0.5]] * 15}),
        json.dumps({"format": 1, "unit": 1000, "frames": [[*ROW[:11], True]] * 15}),
        "[" * 100_000,
    ],
)
def test_a_damaged_regions_file_is_one_media_error(
    footage: Footage, tmp_path: Path, content: str
) -> None:
    (tmp_path / "clip.regions.json").write_text(content)
    with pytest.raises(MediaError, match="holds no regions"):
        regions.faces(footage, tmp_path / "clip.mp4", None)


def test_regions_of_a_shorter_clip_are_refused(footage: Footage, tmp_path: Path) -> None:
    _store(tmp_path, [ROW] * 14)
    with pytest.raises(MediaError, match="has 14 frames, its clip more"):
        regions.faces(footage, tmp_path / "clip.mp4", None)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no zip"])
def test_a_file_that_is_no_landmarker_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face.task"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is no MediaPipe face landmarker"):
        FaceLandmarker(path)


@needs_landmarker
def test_landmarks_are_where_mediapipe_finds_them(landmarker: FaceLandmarker) -> None:
    frame = prepare(next(read_frames(SAMPLES / "webcam.mp4")).frame, 512)
    face = landmarker.find(frame)
    assert face is not None
    assert face.points.shape == (POINTS, 2)
    # The package mediapipe 1.2.2 on the same frame, in pixels.
    golden = {13: (241.6, 359.3), 152: (245.7, 399.0), 33: (183.6, 279.4), 263: (293.5, 272.9)}
    for at, place in golden.items():
        assert np.linalg.norm(face.points[at] - np.array(place)) < 2.5


@needs_landmarker
def test_a_frame_without_a_face_has_no_landmarks(landmarker: FaceLandmarker) -> None:
    assert landmarker.find(np.zeros((256, 256, 3), np.uint8)) is None
    rows = np.linspace(0, 255, 256).astype(np.uint8)
    assert landmarker.find(np.tile(rows[:, None, None], (1, 256, 3))) is None


@needs_landmarker
def test_a_turned_head_is_followed(landmarker: FaceLandmarker) -> None:
    frame = prepare(next(read_frames(SAMPLES / "webcam.mp4")).frame, 512)
    upright = landmarker.find(frame)
    turn = cv2.getRotationMatrix2D((256, 256), 20, 1)
    turned = landmarker.find(np.asarray(cv2.warpAffine(frame, turn, (512, 512)), np.uint8))
    assert upright is not None
    assert turned is not None
    expected = upright.points @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(turned.points - expected, axis=1).mean() < 6


@needs_landmarker
def test_an_open_mouth_is_told_from_a_closed_one(landmarker: FaceLandmarker) -> None:
    # Frame 0 of the webcam clip: lips closed. The speaker of the other clip opens them.
    quiet = landmarker.find(prepare(next(read_frames(SAMPLES / "webcam.mp4")).frame, 512))
    speech = clips.load(SAMPLES / "address.mp4", 512, 5, max_seconds=2, play_s=0)
    found = [landmarker.find(frame) for frame in speech.originals.values()]
    openings = [mouth_opening(face.points) for face in found if face is not None]
    assert quiet is not None
    assert mouth_opening(quiet.points) < 0.02
    assert max(openings) > 0.06
    assert min(openings) < max(openings) / 2


@needs_landmarker
def test_stored_boxes_are_those_of_the_landmarks(
    landmarker: FaceLandmarker, footage: Footage, tmp_path: Path
) -> None:
    frames = [prepare(t.frame, 512) for t in read_frames(SAMPLES / "webcam.mp4")][:15]
    black = np.zeros_like(frames[0])
    path = tmp_path / "clip.regions.json"
    assert regions.write(path, [*frames, black], landmarker) == (16, 15)
    stored = regions.faces(footage, tmp_path / "clip.mp4", None).regions
    found = regions.faces(footage, tmp_path / "clip.mp4", landmarker).regions
    assert stored.keys() == found.keys() == footage.originals.keys()
    for at, expected in found.items():
        for ours, theirs in zip(_boxes(stored[at]), _boxes(expected), strict=True):
            assert np.abs(np.subtract(ours, theirs)).max() <= 1
    with pytest.raises(MediaError, match="cannot be written"):
        regions.write(tmp_path / "absent" / "x.json", [], landmarker)


def _boxes(found: regions.Regions) -> list[Box]:
    return [found.face, found.mouth, *found.eyes]


def _store(folder: Path, rows: list[list[int] | None] | list[list[int]] | list[None]) -> None:
    stored = {"format": 1, "unit": 1000, "frames": rows}
    (folder / "clip.regions.json").write_text(json.dumps(stored))
