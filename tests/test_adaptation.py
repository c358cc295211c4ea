"""The budget: never above what was asked, down with loss, up again, and no flapping."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemino.call.adaptation import Adaptation, split
from gemino.config import MIN_KBPS


@given(st.floats(6, 1000))
def test_a_split_spends_what_was_asked_and_no_more(total_kbps: float) -> None:
    budget = split(total_kbps, 512)
    spent = budget.rung.video_kbps + budget.reference_kbps
    assert spent <= total_kbps + 1e-6 or budget.rung.video_kbps == MIN_KBPS
    assert spent >= 0.95 * total_kbps


def test_the_first_reference_crosses_in_a_second_at_15_kbps() -> None:
    budget = split(15, 512)
    assert budget.reference_max_bytes * 8 / 1000 / budget.reference_pace_kbps < 1.0
    assert budget.rung.size_px == 128


def test_loss_lowers_the_rate_and_calm_brings_it_back() -> None:
    adaptation, now = Adaptation(100, 512), 0.0
    for _ in range(6):
        adaptation.on_loss(20, 100)
        adaptation.update(now)
        now += 2.0
    lowest = adaptation.budget.rung.video_kbps
    assert lowest < 60
    for _ in range(40):
        adaptation.on_loss(0, 100)
        adaptation.update(now)
        now += 2.0
    assert adaptation.kbps == 100
    assert adaptation.budget.rung.video_kbps > 0.85 * split(100, 512).rung.video_kbps


def test_a_rate_that_is_asked_for_holds_at_once_and_is_a_new_bound() -> None:
    adaptation = Adaptation(20, 512)
    assert adaptation.update(0.0) is None
    adaptation.ask(21)  # less than what the network would have to change
    budget = adaptation.update(0.0)
    assert budget == split(21, 512)
    for step in range(5):  # as a slider is dragged
        adaptation.ask(100 + step)
        assert adaptation.update(0.1 + step / 20) is None
    assert adaptation.update(0.6) == split(104, 512)
    adaptation.ask(10)
    assert adaptation.update(1.2) == split(10, 512)
    for second in range(2, 60):
        adaptation.on_loss(0, 100)
        assert adaptation.update(float(second)) is None
    assert adaptation.kbps == 10


def test_an_lr_stream_is_never_larger_than_the_picture() -> None:
    for total_kbps in (60, 400, 1000):
        assert split(total_kbps, 256).rung.size_px <= 256


def test_a_little_loss_changes_nothing() -> None:
    adaptation = Adaptation(50, 512)
    for number in range(50):
        adaptation.on_loss(5, 100)
        assert adaptation.update(number * 10.0) is None


@given(st.lists(st.integers(0, 100), max_size=60))
def test_the_rate_stays_within_bounds_and_changes_are_rare(losses: list[int]) -> None:
    adaptation, changes, now = Adaptation(80, 512), [], 0.0
    for lost in losses:
        adaptation.on_loss(lost, 100)
        assert MIN_KBPS <= adaptation.kbps <= 80
        if adaptation.update(now) is not None:
            changes.append(now)
        now += 0.5
    assert all(later - earlier >= 5 for earlier, later in pairwise(changes))
    assert repr(adaptation).startswith("Adaptation(")


def test_a_report_about_nothing_is_ignored() -> None:
    adaptation = Adaptation(50, 512)
    adaptation.on_loss(0, 0)
    adaptation.on_loss(5, -3)
    assert adaptation.kbps == 50


def test_what_references_do_not_need_the_small_picture_borrows() -> None:
    """A head that keeps still: the minute's budget is spent at first, and hardly needed later."""
    adaptation = Adaptation(15, 512)
    own, share = adaptation.budget.rung.video_kbps, adaptation.budget.reference_kbps
    changes = {}
    for second in range(180):
        budget = adaptation.update(float(second), 7.0 if second < 60 else 2.5)
        if budget is not None and budget.rung.video_kbps != own:
            changes[second] = budget
    assert min(changes) == 60
    rates = {budget.rung.video_kbps for budget in changes.values()}
    assert rates == {own + share - 2.5}
    # It is paid for out of what references may cost, by and by.
    left = [budget.reference_kbps for budget in changes.values()]
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(2.5, abs=0.3)


def test_borrowing_does_not_begin_with_the_call_and_ends_within_seconds() -> None:
    adaptation = Adaptation(15, 512)
    own = adaptation.budget.rung.video_kbps
    assert all(adaptation.update(float(second), 2.5) is None for second in range(20))
    raised = adaptation.update(20.0, 2.5)
    assert raised is not None
    assert raised.rung.video_kbps > 1.3 * own
    assert not any(changes_stream(adaptation, second, 7.0) for second in range(21, 25))
    assert changes_stream(adaptation, 25, 7.0)
    assert adaptation.budget.rung.video_kbps == own
    # Not again at once: each change costs a key frame.
    assert not any(changes_stream(adaptation, second, 2.5) for second in range(26, 45))
    assert changes_stream(adaptation, 45, 2.5)


def changes_stream(adaptation: Adaptation, second: int, needed_kbps: float) -> bool:
    before = adaptation.budget.rung
    adaptation.update(float(second), needed_kbps)
    return adaptation.budget.rung != before


@given(st.floats(10, 300), st.lists(st.floats(0, 60), min_size=1, max_size=30))
def test_borrowing_never_exceeds_what_was_asked_for_over_a_minute(
    asked_kbps: float, needs: list[float]
) -> None:
    """Whatever references need, ten seconds each, and though they spend all they may."""
    adaptation, streams = Adaptation(asked_kbps, 512), []
    for second in range(10 * len(needs)):
        adaptation.update(float(second), needs[second // 10])
        streams.append(adaptation.budget.rung.video_kbps)
        last_minute = [streams[0]] * max(60 - len(streams), 0) + streams[-60:]
        mean = sum(last_minute) / 60
        # Told with a little delay, and looked at once a second.
        slack = 0.25 + max(last_minute) / 60
        assert mean + adaptation.budget.reference_kbps <= asked_kbps + slack


def test_a_plain_peer_lends_nothing() -> None:
    adaptation = Adaptation(40, 512, plain=True)
    assert all(adaptation.update(float(second), 0.0) is None for second in range(60))
