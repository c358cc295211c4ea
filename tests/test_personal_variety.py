"""The lights and sizes that adapters learn in: the same picture, and the codec's work kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gemino.config import Rung
from gemino.personal import judging
from gemino.personal.judging import Case, Measured, compare
from gemino.personal.lessons import JUDGED, STREAMS
from gemino.personal.variety import SMALL_PX, VariedSampler, otherwise_lit, shrunk, smaller
from gemino.training.clips import Sampler
from gemino.training.sequence import Sequence

SIDE = 288


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    """Six pictures of soft colours, and streams as flat as they can be."""
    rng = np.random.default_rng(0)
    frames = np.kron(
        rng.integers(40, 200, (6, 9, 9, 3), np.uint8), np.ones((1, 32, 32, 1), np.uint8)
    )
    rungs = {Rung(kind.codec, kind.size_px, r) for kind, (_, rs) in STREAMS.items() for r in rs}
    lr = {
        rung: (
            rng.integers(0, 255, (6, rung.size_px, rung.size_px, 3), np.uint8),
            np.zeros(6, np.float32),
        )
        for rung in (*rungs, *JUDGED)
    }
    activity = np.full((64, 64), 1 / 4096, np.float32)
    return Sequence("made up", frames, lr, frames[:4], activity, None, 5.0, {})


def drawn(sequence: Sequence, count: int) -> list[tuple[bool, bool]]:
    """Whether each batch was lit otherwise, and drawn smaller."""
    plain = Sampler([sequence], 2, 128, 3, streams=STREAMS)
    varied = VariedSampler([sequence], 2, 128, 3, STREAMS)
    seen = []
    for step in range(count):
        before, after = plain.draw(step), varied.draw(step)
        small = after.target.shape[-1] == SMALL_PX
        before = smaller(before, SMALL_PX) if small else before
        seen.append((not torch.equal(before.target, after.target), small))
        for one, other in ((before.target, after.target), (before.lr, after.lr)):
            assert one.shape == other.shape
            assert 0 <= float(other.min()) <= float(other.max()) <= 1
        assert after.crops == before.crops
        assert all(top + side <= after.target.shape[-1] for top, _, side in after.crops)
    return seen


def test_most_batches_are_lit_otherwise_and_some_are_smaller(sequence: Sequence) -> None:
    seen = drawn(sequence, 24)
    assert 12 <= sum(lit for lit, _ in seen) < 24
    assert 1 <= sum(small for _, small in seen) <= 12


def test_a_batch_follows_from_seed_and_step_alone(sequence: Sequence) -> None:
    first, again = (VariedSampler([sequence], 2, 128, 3, STREAMS) for _ in range(2))
    first.draw(0)
    assert torch.equal(first.draw(5).target, again.draw(5).target)


def test_a_light_changes_all_pictures_alike(sequence: Sequence) -> None:
    """What differs between target and LR picture is what the codec did, in whatever light."""
    rung = JUDGED[1]
    same = replace(sequence, lr={rung: (sequence.frames, np.zeros(6, np.float32))})
    lit = otherwise_lit(same, (rung,))
    np.testing.assert_array_equal(lit.frames, lit.lr[rung][0])
    np.testing.assert_array_equal(lit.frames[:4], lit.references)
    change = lit.frames.astype(float).mean((0, 1, 2)) - sequence.frames.mean((0, 1, 2))
    assert change[0] < change[2] < 0  # colder, and darker


def test_what_is_drawn_smaller_has_the_same_stream(sequence: Sequence) -> None:
    small = shrunk(sequence, SMALL_PX, JUDGED[:1])
    assert small.frames.shape == (6, SMALL_PX, SMALL_PX, 3)
    assert list(small.lr) == [JUDGED[0]]
    np.testing.assert_array_equal(small.lr[JUDGED[0]][0], sequence.lr[JUDGED[0]][0])


def test_an_adapter_serves_where_it_wins_in_every_view(sequence: Sequence) -> None:
    seen = judging.views([sequence])
    assert set(seen) == {judging.AS_FILMED, judging.RELIT, judging.SMALL}
    low, middle, _, high = (Rung("av1", px, 9.0) for px in (64, 128, 192, 256))
    cases = {
        Case(judging.AS_FILMED, 512, low): (0.10, 0.08),
        Case(judging.AS_FILMED, 512, middle): (0.10, 0.08),
        Case(judging.RELIT, 512, middle): (0.10, 0.11),
        Case(judging.AS_FILMED, 512, high): (0.10, 0.0995),
        Case(judging.SMALL, 256, low): (0.10, 0.098),
    }
    before = Measured({case: pair[0] for case, pair in cases.items()}, [])
    after = Measured({case: pair[1] for case, pair in cases.items()}, [])
    verdict = compare(before, after)
    assert verdict.serves == {(512, 64), (256, 64)}
    assert verdict.gain == pytest.approx(1 - 0.4675 / 0.5)
