"""Whether a picture between two drawn ones shows what it should: new shapes, carried detail."""

from itertools import islice

import numpy as np
import pytest

from gemino.call.carry import Carry
from gemino.decoder import DecodedFrame
from gemino.frames import Frame, prepare, resize
from gemino.media import read_frames
from test_timecode import SAMPLES


def drawn(frame: Frame, lr: Frame) -> DecodedFrame:
    return DecodedFrame(frame, lr, lr.shape[0], True, True, 0.0, 0.0)


def sharp(seed: int, side: int = 256) -> Frame:
    return np.random.default_rng(seed).integers(40, 216, (side, side, 3), np.uint8)


def error(a: Frame, b: Frame) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


def test_the_same_small_picture_gives_the_drawn_one_again() -> None:
    frame = sharp(1)
    lr = resize(frame, 64)
    assert np.array_equal(Carry(drawn(frame, lr)).onto(lr), frame)


def test_what_changes_takes_no_detail_along() -> None:
    """The left half turns into something else; the right half stays as it was drawn."""
    frame = sharp(1)
    lr = resize(frame, 64)
    changed = lr.copy()
    changed[:, :32] = np.where(lr[:, :32] > 128, lr[:, :32] - 100, lr[:, :32] + 100)
    shown = Carry(drawn(frame, lr)).onto(changed)
    assert np.array_equal(shown[:, :96], resize(changed, 256)[:, :96])
    assert np.array_equal(shown[:, 160:], frame[:, 160:])


@pytest.mark.parametrize("px", [48, 96, 128])
def test_a_small_picture_of_another_size_carries_as_well(px: int) -> None:
    frame = resize(sharp(1, 48), 256)
    shown = Carry(drawn(frame, resize(frame, 64))).onto(resize(frame, px))
    assert error(shown, frame) < 0.5 * error(resize(resize(frame, 32), 256), frame)


def test_a_face_that_moves_is_closer_to_the_truth_than_enlarged_or_repeated() -> None:
    """Pictures 100 ms apart of a real clip, the earlier one drawn perfectly."""
    clip = read_frames(SAMPLES / "webcam.mp4")
    frames = [prepare(timed.frame, 256) for timed in islice(clip, 123)]
    carried, enlarged, repeated = [], [], []
    for before, now in zip(frames[0:120:12], frames[3:123:12], strict=True):
        small = resize(now, 64)
        shown = Carry(drawn(before, resize(before, 64))).onto(small)
        carried.append(error(shown, now))
        enlarged.append(error(resize(small, 256), now))
        repeated.append(error(before, now))
    assert np.mean(carried) < 0.5 * np.mean(enlarged)
    assert np.mean(carried) < 0.8 * np.mean(repeated)
