"""Whose face an LR stream shows: the same person later in a clip, and somebody else."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from gemino.config import Rung
from gemino.faces import FaceDetector, shipped
from gemino.frames import Frame, prepare
from gemino.identity import FEATURES, MAX_KEPT, SAME_PERSON, Watcher, choose, describe
from gemino.media import read_frames
from gemino.video.lr import LrDecoder, LrEncoder
from training_clips import ADDRESS, WEBCAM


def stream(clip: Path, first: int, count: int, rung: Rung) -> Iterator[Frame]:
    """Pictures of the LR stream of `clip`, as a receiver decodes them."""
    encoder, decoder = LrEncoder(rung, Fraction(25)), LrDecoder(rung.codec)
    for timed in islice(read_frames(clip), first, first + count):
        yield decoder.decode(encoder.encode(prepare(timed.frame, rung.size_px)).data)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return shipped()


@pytest.fixture(scope="module", params=["address", "webcam"])
def owner(request: pytest.FixtureRequest, detector: FaceDetector) -> tuple[Path, Watcher]:
    """A clip of an adapter's owner, and who watches for them."""
    clip = {"address": ADDRESS, "webcam": WEBCAM}[request.param]
    frames = (prepare(timed.frame, 128) for timed in islice(read_frames(clip), 0, 100, 10))
    described = [describe(detector, frame) for frame in frames]
    return clip, Watcher(choose([face for face in described if face is not None]))


@pytest.mark.parametrize("rung", [Rung("av1", 128, 8.0), Rung("av1", 64, 5.0)])
def test_owners_are_known_later_and_others_are_not(owner: tuple[Path, Watcher], rung: Rung) -> None:
    mine, watcher = owner
    for clip in (ADDRESS, WEBCAM):
        watcher.forget()
        for picture in stream(clip, 120, 20, rung):
            watcher.watch(picture)
        assert watcher.verdict is (clip == mine), (clip, watcher.alike)


def test_a_verdict_takes_three_looks_and_outlasts_a_turned_head(
    owner: tuple[Path, Watcher],
) -> None:
    mine, watcher = owner
    watcher.forget()
    verdicts = []
    for picture in stream(mine, 120, 8, Rung("av1", 128, 8.0)):
        watcher.watch(picture)
        verdicts.append(watcher.verdict)
    assert verdicts == [None] * 6 + [True] * 2
    for _ in range(100):
        watcher.watch(np.zeros((128, 128, 3), np.uint8))
    assert watcher.verdict is True
    watcher.forget()
    assert watcher.verdict is None


def test_somebody_who_takes_the_seat_is_noticed(owner: tuple[Path, Watcher]) -> None:
    mine, watcher = owner
    other = WEBCAM if mine == ADDRESS else ADDRESS
    watcher.forget()
    for picture in stream(mine, 120, 8, Rung("av1", 128, 8.0)):
        watcher.watch(picture)
    verdicts = [watcher.verdict]
    picture = next(stream(other, 120, 1, Rung("av1", 128, 30.0)))
    for _ in range(150):  # a look a second
        watcher.watch(picture)
        verdicts.append(watcher.verdict)
    assert (verdicts[0], verdicts[-1]) == (True, False)


def test_what_is_kept_is_small_and_no_picture(detector: FaceDetector) -> None:
    face = prepare(next(iter(read_frames(ADDRESS))).frame, 256)
    described = describe(detector, face)
    assert described is not None
    assert described.shape == (FEATURES,)
    assert np.linalg.norm(described) == pytest.approx(1, abs=1e-4)
    kept = choose([described] * 40)
    assert kept.shape == (MAX_KEPT, FEATURES)
    assert kept.dtype == np.float16
    brighter = np.asarray(np.clip(face.astype(float) * 0.6 + 40, 0, 255), np.uint8)
    again = describe(detector, brighter)
    assert again is not None
    assert float(described @ again) > SAME_PERSON
    assert describe(detector, np.zeros((128, 128, 3), np.uint8)) is None
