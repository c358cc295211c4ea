"""Configuration: bounds and the ladder."""

from fractions import Fraction

import pytest

from gemino.config import Rung, frame_step, interpolates, ladder


@pytest.mark.parametrize(
    "wrong",
    [
        {"codec": "h264"},
        {"size_px": 63},
        {"size_px": 100},
        {"size_px": 1040},
        {"video_kbps": 4.9},
        {"video_kbps": 1001.0},
        {"video_kbps": float("nan")},
    ],
)
def test_a_rung_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        Rung(**wrong)  # type: ignore[arg-type]


def test_the_ladder_never_shrinks_as_the_rate_grows() -> None:
    rungs = [ladder(kbps) for kbps in (1, 5, 8, 12, 20, 40, 100, 400, 5000)]
    sizes = [rung.size_px for rung in rungs]
    assert sizes == sorted(sizes)
    assert rungs[0].video_kbps == 5
    assert rungs[-1].video_kbps == 1000


@pytest.mark.parametrize(
    ("fps", "kbps", "step"),
    [
        *[(15, 15, 1), (20, 15, 1), (24, 15, 2), (25, 15, 2), (30, 29, 2), (30, 30, 1)],
        *[(50, 15, 4), (60, 15, 4), (60, 30, 2), (60, 59, 2), (60, 60, 1), (120, 15, 8)],
        *[(120, 40, 4), (120, 100, 2)],
    ],
)
def test_a_thin_stream_has_fewer_frames(fps: int, kbps: float, step: int) -> None:
    assert frame_step(Fraction(fps * 1000, 1001), kbps) == step
    assert frame_step(Fraction(fps), kbps) == step


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(30, False), (24, False), (20, False), (18, True), (15, True), (10, True), (7, False)],
)
def test_a_receiver_makes_pictures_between_where_a_few_are_missing(
    fps: int, expected: bool
) -> None:
    assert interpolates(1 / fps) is expected
