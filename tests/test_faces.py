from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from gemino import faces
from gemino.attention import Attention
from gemino.config import Fovea
from gemino.errors import ModelError
from gemino.frames import Frame, prepare
from gemino.media import read_frames

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def person() -> Frame:
    return prepare(next(iter(read_frames(SAMPLES / "address.mp4"))).frame, 512)


def moved(picture: Frame, parts: int) -> Frame:
    """`picture`, shifted to the left by so many 1/32 of its side."""
    return np.roll(picture, -parts * picture.shape[0] // 32, axis=1)


def test_a_face_is_found_where_it_is(person: Frame) -> None:
    box = faces.shipped().find(person)
    assert box is not None
    assert box.centre == pytest.approx([268, 270], abs=20)
    assert 150 < box.side < 260
    assert box.eyes[0] > 40  # from left to right
    assert abs(box.eyes[1]) < 20


@pytest.mark.parametrize("sample", ["address", "webcam"])
def test_the_fovea_holds_the_face_of_both_samples(sample: str) -> None:
    detector = faces.shipped()
    for timed in islice(read_frames(SAMPLES / f"{sample}.mp4"), 0, 200, 50):
        box = detector.find(prepare(timed.frame, 512))
        assert box is not None
        fovea = box.fovea(512)
        assert 13 <= fovea.x <= 19
        assert 15 <= fovea.y <= 22
        assert 5 <= fovea.radius <= 9


def test_where_no_face_is_none_is_found() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    detector = faces.shipped()
    assert detector.find(noise) is None
    assert detector.find(np.zeros((512, 512, 3), np.uint8)) is None


def test_a_face_at_the_rim_still_has_a_fovea() -> None:
    box = faces.FaceBox(np.array([-40.0, 700.0]), 900.0, np.array([1.0, 0.0]))
    assert box.fovea(512) == Fovea(0, 32, 12)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ModelError, match=r"mine\.tflite"):
        faces.FaceDetector(b"no network", "mine.tflite")


class TestAttention:
    def test_the_first_frame_decides_at_once(self, person: Frame) -> None:
        fovea = Attention().update(person, 0.0)
        assert fovea is not None
        assert abs(fovea.x - 17) <= 1

    def test_a_face_that_stays_near_costs_nothing(self, person: Frame) -> None:
        attention = Attention()
        first = attention.update(person, 0.0)
        for at in range(1, 60):
            assert attention.update(moved(person, 2), at / 2) == first

    def test_a_face_that_goes_away_is_followed_when_it_has_settled(self, person: Frame) -> None:
        attention = Attention()
        first = attention.update(person, 0.0)
        assert first is not None
        seen = [attention.update(moved(person, 8), 10 + at / 10) for at in range(20)]
        assert seen[0] == seen[9] == first
        assert seen[-1] is not None
        assert first.x - seen[-1].x == pytest.approx(8, abs=1)

    def test_it_rests_between_two_moves(self, person: Frame) -> None:
        attention = Attention()
        places = {}
        for at in range(200):  # a face that jumps to and fro every two seconds
            now = at / 10
            places[now] = attention.update(moved(person, 8 * (int(now / 2) % 2)), now)
        changes = [now for now in places if now and places[now] != places[round(now - 0.1, 1)]]
        assert all(later - sooner >= 8 for sooner, later in pairwise(changes))

    def test_without_a_face_it_looks_evenly(self, person: Frame) -> None:
        attention = Attention()
        empty = np.full_like(person, 90)
        assert attention.update(empty, 0.0) is None
        for at in range(20):
            attention.update(person, 20 + at / 4)
        assert attention.fovea is not None
        for at in range(20):
            attention.update(empty, 40 + at / 4)
        assert attention.fovea is None
