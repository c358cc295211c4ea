"""Pictures between those that were sent."""

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from gemino.call.display import ShownFrame
from gemino.call.jitter import Picture
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.call.receiver import Viewer
from gemino.call.stats import Counters
from gemino.config import Rung, Sampling
from gemino.decoder import Interpolator, LrPicture, between
from gemino.frames import Frame
from gemino.interpolation import halfway
from gemino.video.lr import LrEncoder

APART_S = 1 / 15


def scene(side: int, shift: float, seed: int = 5) -> Frame:
    """Soft blobs, moved by `shift` of the side."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (12, 12, 3), np.uint8)
    large = cv2.resize(texture, (2 * side, 2 * side), interpolation=cv2.INTER_CUBIC)
    moved = np.array([[1, 0, shift * side - side / 2], [0, 1, -side / 2]], np.float32)
    return np.asarray(cv2.warpAffine(large, moved, (side, side)), np.uint8)


def distance(a: Frame, b: Frame) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("side", [64, 128, 256, 512])
def test_motion_is_followed_half_the_way(side: int) -> None:
    before, middle, after = (scene(side, shift) for shift in (0.0, 0.03, 0.06))
    made = halfway(before, after)
    assert made is not None
    assert made.shape == (side, side, 3)
    blended = np.asarray(cv2.addWeighted(before, 0.5, after, 0.5, 0), np.uint8)
    assert distance(made, middle) < 0.35 * distance(blended, middle)
    assert distance(made, middle) < 0.35 * distance(before, middle)


def test_what_stands_still_stays() -> None:
    frame = scene(128, 0.0)
    made = halfway(frame, frame)
    assert made is not None
    assert distance(made, frame) < 1


def test_nothing_lies_between_two_scenes() -> None:
    assert halfway(scene(128, 0.0), scene(128, 0.0, seed=6)) is None


def picture(shift: float, side: int = 64) -> LrPicture:
    return LrPicture(scene(side, shift), Sampling(side), -4.0, True, 1.0)


def test_a_picture_between_is_told_as_the_one_after() -> None:
    before, after = picture(0.0), replace(picture(0.04), log2_bits_per_pixel=-3.0)
    made = between(before, after)
    assert made is not None
    assert (made.sampling, made.log2_bits_per_pixel, made.intact) == (Sampling(64), -3.0, True)
    assert 0 < distance(made.frame, before.frame) < distance(after.frame, before.frame)


@pytest.mark.parametrize(
    "other",
    [
        picture(0.0, 128),
        replace(picture(0.0), intact=False),
        replace(picture(0.0), whole=np.zeros((40, 60, 3), np.uint8)),
        LrPicture(scene(64, 0.0, seed=6), Sampling(64), -4.0, True, 1.0),
    ],
    ids=["size", "damage", "screen", "cut"],
)
def test_there_is_none_where_two_do_not_go_together(other: LrPicture) -> None:
    assert between(picture(0.0), other) is None
    assert between(other, picture(0.0)) is None


def test_only_a_gap_is_filled() -> None:
    interpolator = Interpolator()
    found = [interpolator.between(picture(0.0), at_s) for at_s in (0.0, 0.033, 0.1, 0.3, 0.25)]
    assert [None if one is None else round(one[1], 4) for one in found] == [
        *[None, None, 0.0665, None, None]
    ]
    interpolator.follow(picture(0.0), 0.3)
    assert interpolator.between(picture(0.0), 0.37) is not None


class Screen:
    """Keeps what a viewer shows."""

    def __init__(self) -> None:
        self.shown: list[ShownFrame] = []
        self.counters = Counters()
        self.viewer = Viewer(None, 256, self.counters, self.shown.append)
        assert self.viewer.ready.wait(30)

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.shown) < count and time.monotonic() < deadline:
            time.sleep(0.005)


@pytest.fixture
def screen() -> Iterator[Screen]:
    """Of a viewer without a model."""
    screen = Screen()
    yield screen
    screen.viewer.close()
    assert screen.viewer.failure is None


def stream(count: int, first_at: float) -> Iterator[Picture]:
    """Coded pictures, 15 a second, the first of which has come at `first_at`."""
    encoder = LrEncoder(Rung("vp8", 128), Fraction(15))
    for number in range(count):
        data = encoder.encode(scene(128, 0.01 * number)).data
        timestamp = round(number * APART_S * VIDEO_CLOCK_HZ)
        yield Picture(number, timestamp, data, first_at + number * APART_S)


def test_a_thin_stream_is_shown_at_twice_its_rate(screen: Screen) -> None:
    for number, coded in enumerate(stream(8, time.monotonic())):
        time.sleep(max(coded.arrived_at - time.monotonic(), 0))
        screen.viewer.push([coded])
        screen.wait(2 * number + 1)
    shown, counters = screen.shown, screen.counters
    assert [one.interpolated for one in shown] == [False, *[True, False] * 7]
    assert [one.timestamp for one in shown] == [number * 3000 for number in range(15)]
    assert [one.media_time_s * 30 for one in shown] == pytest.approx(list(range(15)))
    assert (counters.frames, counters.frames_interpolated, counters.frames_coded) == (15, 7, 8)
    for made, came in zip(shown[1::2], shown[2::2], strict=True):
        assert came.shown_s - made.shown_s >= APART_S / 2 - 0.001  # not both at once


def test_nothing_is_made_of_what_is_late(screen: Screen) -> None:
    """All of two seconds has come, three seconds ago: the newest picture is shown."""
    coded = list(stream(30, 0.0))
    late_s = time.monotonic() - 5
    screen.viewer.push([replace(one, arrived_at=one.arrived_at + late_s) for one in coded])
    screen.wait(1)
    assert [round(one.media_time_s, 3) for one in screen.shown] == [round(29 * APART_S, 3)]
    assert screen.counters.frames_interpolated == 0
