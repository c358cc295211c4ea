"""The budget: never above what was asked, down with loss, up again, and no flapping."""

from itertools import pairwise

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
