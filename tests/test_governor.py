"""Whether the governor keeps a call live, in made-up time."""

from itertools import pairwise

import pytest

from gemino.call.governor import Governor

FPS = 30
SIZES = (1024, 768, 512, 384, 256)


def run(governor: Governor, seconds: float, cost_s: float, start_s: float = 0.0) -> list[int]:
    """`seconds` of pictures; at 1024 px each takes `cost_s`, at others less. The sizes drawn."""
    drawn = []
    for at in range(round(seconds * FPS)):
        now = start_s + at / FPS
        governor.came(now)
        governor.rebuilt(cost_s * (governor.size_px / 1024) ** 2, now)
        drawn.append(governor.size_px)
    return drawn


def test_a_machine_that_is_fast_enough_is_left_alone() -> None:
    assert set(run(Governor(SIZES, 2), 60, 0.060)) == {1024}


@pytest.mark.parametrize(("cost_s", "size_px"), [(0.075, 768), (0.150, 512), (0.4, 384)])
def test_a_slow_machine_draws_smaller_within_a_few_seconds(cost_s: float, size_px: int) -> None:
    drawn = run(Governor(SIZES, 2), 4, cost_s)
    assert drawn[-1] == size_px
    assert drawn == sorted(drawn, reverse=True)


def test_one_slow_picture_changes_nothing() -> None:
    governor = Governor(SIZES[2:], 2)
    run(governor, 2, 0.1)
    assert not governor.rebuilt(5.0, 2.0)
    assert governor.size_px == 512


def test_it_goes_back_up_when_there_is_room_for_long_enough() -> None:
    governor = Governor(SIZES, 2)
    assert run(governor, 5, 0.15)[-1] == 512
    drawn = run(governor, 30, 0.04, start_s=5)
    assert drawn[4 * FPS] == 512
    assert drawn[-1] == 1024
    assert drawn == sorted(drawn)


def test_a_step_up_that_fails_is_tried_ever_more_rarely() -> None:
    """Smaller pictures flatter: here 768 px seems to fit, and never does."""
    governor = Governor(SIZES, 2)
    changes = []
    for at in range(300 * FPS):
        now = at / FPS
        governor.came(now)
        if governor.rebuilt({1024: 0.2, 768: 0.08, 512: 0.015}[governor.size_px], now):
            changes.append((governor.size_px, now))
    tries = [now for size_px, now in changes if size_px == 768]
    pauses = [later - sooner for sooner, later in pairwise(tries)]
    assert len(tries) < 9
    assert pauses == sorted(pauses)
    assert pauses[-1] > 60


def test_fewer_pictures_a_second_leave_more_time_for_each() -> None:
    governor = Governor(SIZES, 1)
    for at in range(100):
        governor.came(at / 10)
        governor.rebuilt(0.08, at / 10)
    assert governor.size_px == 1024


def test_a_stream_that_starts_over_is_no_reason_to_draw_smaller() -> None:
    governor = Governor(SIZES, 2)
    run(governor, 3, 0.05)
    run(governor, 3, 0.05, start_s=0)
    assert governor.size_px == 1024
