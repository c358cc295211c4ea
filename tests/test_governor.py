"""Whether the governor keeps a call live, in made-up time."""

from itertools import pairwise

import pytest

from gemino.call.governor import Governor, Mode, modes
from gemino.runtime import Drawing

FPS = 30
FULL = Drawing("s", 1024)
SMALLER = tuple(Drawing("s", px, (px / 1024) ** 2) for px in (768, 512, 384, 256))
LIGHT = (
    Drawing("xs", 1024, 0.4),
    *(Drawing("xs", px, 0.4 * (px / 1024) ** 2) for px in (768, 512, 384, 256)),
)
LADDER = modes((FULL, *SMALLER))
ALL, SECOND, THIRD = (Mode(FULL, every) for every in (1, 2, 3))


def run(governor: Governor, seconds: float, cost_s: float, start_s: float = 0.0) -> list[Mode]:
    """`seconds` of pictures, each of which takes `cost_s` as the first way draws it. The modes."""
    seen = []
    for at in range(round(seconds * FPS)):
        now = start_s + at / FPS
        mode = governor.mode
        governor.came(now)
        if at % mode.every == 0:
            governor.drawn(cost_s * mode.drawing.cost, now)
        seen.append(governor.mode)
    return seen


def levels(seen: list[Mode]) -> list[int]:
    return [LADDER.index(mode) for mode in seen]


def test_first_fewer_pictures_are_drawn_then_smaller_ones() -> None:
    assert [*LADDER] == [ALL, SECOND, THIRD, *(Mode(drawing, 3) for drawing in SMALLER)]


def test_a_lighter_network_comes_before_smaller_pictures() -> None:
    """But not where it would cost more than the mode before."""
    ladder = modes((FULL, *LIGHT))
    assert ladder[:3] == (ALL, SECOND, THIRD)
    assert ladder[3:6] == (Mode(LIGHT[0], 2), Mode(LIGHT[0], 3), Mode(LIGHT[1], 3))
    assert modes((FULL, Drawing("xs", 1024, 1.0))) == (ALL, SECOND, THIRD)


@pytest.mark.parametrize("ladder", [LADDER, modes((FULL, *LIGHT)), modes((FULL,))])
def test_each_mode_is_cheaper_than_the_one_before(ladder: tuple[Mode, ...]) -> None:
    costs = [mode.cost for mode in ladder]
    assert costs[0] == 1
    assert all(after < before for before, after in pairwise(costs))


@pytest.mark.parametrize(
    ("full_s", "mode"), [(0.03, ALL), (0.06, ALL), (0.09, SECOND), (0.15, THIRD), (9.0, THIRD)]
)
def test_a_call_begins_as_the_last_one_ended(full_s: float, mode: Mode) -> None:
    """But with the network that is ready."""
    for ladder in (LADDER, modes((FULL, *LIGHT))):
        governor = Governor(ladder, 2)
        assert governor.full_s is None
        governor.begin(full_s)
        assert governor.mode == mode
        run(governor, 1.5, full_s)
        assert governor.full_s == pytest.approx(full_s)


def test_a_call_that_begins_too_carefully_comes_up() -> None:
    governor = Governor(LADDER, 2)
    governor.begin(1.0)
    assert governor.mode == THIRD
    assert run(governor, 30, 0.03)[-1] == ALL


def test_a_machine_that_is_fast_enough_is_left_alone() -> None:
    assert set(run(Governor(LADDER, 2), 60, 0.060)) == {ALL}


@pytest.mark.parametrize(
    ("cost_s", "level"), [(0.075, 1), (0.110, 1), (0.150, 2), (0.250, 3), (0.9, 5)]
)
def test_a_slow_machine_goes_down_within_a_few_seconds(cost_s: float, level: int) -> None:
    seen = levels(run(Governor(LADDER, 2), 6, cost_s))
    assert seen[-1] == level
    assert seen == sorted(seen)


def test_a_machine_too_slow_for_anything_ends_at_the_cheapest() -> None:
    assert run(Governor(LADDER, 2), 20, 30.0)[-1] == LADDER[-1]


def test_one_slow_picture_changes_nothing() -> None:
    governor = Governor(LADDER, 2)
    run(governor, 2, 0.05)
    assert not governor.drawn(5.0, 2.0)
    assert governor.mode == ALL


def test_it_goes_back_up_when_there_is_room_for_long_enough() -> None:
    governor = Governor(LADDER, 2)
    assert run(governor, 5, 0.25)[-1] == LADDER[3]
    seen = levels(run(governor, 40, 0.04, start_s=5))
    assert seen[4 * FPS] == 3
    assert seen[-1] == 0
    assert seen == sorted(seen, reverse=True)


def test_it_does_not_flap_where_a_mode_just_fits() -> None:
    """Every second picture of 70 ms is in time, and all of them would not be."""
    seen = levels(run(Governor(LADDER, 2), 120, 0.070))
    assert seen[-1] == 1
    assert sum(before != after for before, after in pairwise(seen)) == 1


def test_a_step_up_that_fails_is_tried_ever_more_rarely() -> None:
    """Cheaper modes flatter: here all pictures seem to fit, and never do."""
    governor = Governor(LADDER, 2)
    changes = []
    for at in range(400 * FPS):
        now, mode = at / FPS, governor.mode
        governor.came(now)
        if at % mode.every == 0 and governor.drawn(0.2 if mode == ALL else 0.03, now):
            changes.append((governor.mode, now))
    tries = [now for mode, now in changes if mode == ALL]
    pauses = [later - sooner for sooner, later in pairwise(tries)]
    assert len(tries) < 9
    assert pauses == sorted(pauses)
    assert pauses[-1] > 60


def test_fewer_pictures_a_second_leave_more_time_for_each() -> None:
    governor = Governor(LADDER, 1)
    for at in range(100):
        governor.came(at / 10)
        governor.drawn(0.08, at / 10)
    assert governor.mode == ALL


def test_a_stream_that_starts_over_is_no_reason_to_go_down() -> None:
    governor = Governor(LADDER, 2)
    run(governor, 3, 0.05)
    run(governor, 3, 0.05, start_s=0)
    assert governor.mode == ALL


def test_a_machine_that_is_far_too_slow_is_noticed_after_a_few_pictures() -> None:
    governor = Governor(LADDER, 2)
    for at in range(10):
        governor.came(at / FPS)
    changed = [governor.drawn(0.6, at) for at in range(5)]
    assert changed == [False, False, False, False, True]
    assert governor.mode.drawing.size_px < 1024
