"""When a plain peer took its sound, by its reports, and what our own reports say of ours."""

import math

import pytest

from gemino.call.plain_times import PlainTimes

MODULUS = 1 << 32
SAID_AT_S = 3_990_000_000.0
"""The other side's time of day when its first picture was taken."""


def peer(picture_at: int = 1_000, sound_at: int = 2_000) -> PlainTimes:
    """Its first picture came at 10 s; its first sound, taken then too, at 10.2 s."""
    times = PlainTimes()
    taken = times.picture(picture_at, 10.0)
    assert taken is not None
    assert taken.captured_us == 10_000_000
    assert times.picture(picture_at + 3_000, 10.1) is None
    times.sound(sound_at, 10.2)
    times.sound(sound_at + 2_880, 10.26)
    return times


@pytest.mark.parametrize("wraps", [False, True])
def test_reports_tell_which_sound_belongs_to_which_picture(wraps: bool) -> None:
    picture_at, sound_at = (MODULUS - 1_000, MODULUS - 2_000) if wraps else (1_000, 2_000)
    times = peer(picture_at, sound_at)
    times.report("video", SAID_AT_S + 1.0, (picture_at + 90_000) % MODULUS)
    assert times.place_sound(11.5) is None
    times.report("audio", SAID_AT_S + 1.5, (sound_at + 72_000) % MODULUS)
    told = times.place_sound(11.6)
    assert told is not None
    assert told.rtp_timestamp == sound_at
    assert told.captured_us == pytest.approx(10_000_000, abs=2)
    assert times.place_sound(11.7) is None  # once


@pytest.mark.parametrize("seconds", [-1e9, -2.5, 2.5, 4e9])
def test_reports_that_make_no_sense_leave_it_to_the_arrival(seconds: float) -> None:
    times = peer()
    times.report("video", SAID_AT_S, 1_000)
    times.report("audio", SAID_AT_S + seconds, 2_000)
    times.report("telepathy", SAID_AT_S, 1)
    assert times.place_sound(12.0) is None
    told = times.place_sound(13.3)
    assert told is not None
    assert told.captured_us == 10_200_000


def test_without_reports_nothing_waits_for_ever() -> None:
    times = peer()
    assert times.place_sound(13.1) is None
    assert times.place_sound(math.inf) is not None
    silent = PlainTimes()
    assert silent.place_sound(math.inf) is None
