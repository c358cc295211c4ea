"""Whether a time code survives what a call does to pictures, and what is made of it."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gemino.call import loopback, timecode
from gemino.call.options import LoopbackOptions, MediaOptions
from gemino.call.pattern import draw_pattern
from gemino.call.recorder import LogRow
from gemino.call.sources import ClipSource, PatternSource
from gemino.call.timecode import NUMBERS, UNREADABLE, TimeCoded, draw, read, tally
from gemino.cli.call import app
from gemino.config import LrCodec, Rung
from gemino.errors import CallError
from gemino.frames import Frame, prepare, resize
from gemino.media import read_frames
from gemino.video.lr import LrDecoder, LrEncoder

SAMPLES = Path(__file__).parents[1] / "samples"


def coded(number: int, size_px: int = 256) -> Frame:
    frame = draw_pattern(size_px, number)
    draw(frame, number)
    return frame


def test_every_number_is_read_back_from_the_smallest_picture() -> None:
    frame = np.full((256, 256, 3), 90, np.uint8)
    for number in range(NUMBERS):
        draw(frame, number)
        assert read(resize(resize(frame, 64), 256)) == number


@pytest.mark.parametrize("size_px", [64, 128, 256, 512, 768, 1024])
def test_any_size_is_read(size_px: int) -> None:
    assert read(coded(677, size_px)) == 677


def test_numbers_repeat() -> None:
    frame = coded(0)
    draw(frame, 3 * NUMBERS + 5)
    assert read(frame) == 5


def test_little_changes_from_one_frame_to_the_next() -> None:
    """What changes costs bits: of sixteen cells at most seven, three as a rule."""
    words = [timecode._word(number) for number in range(NUMBERS)]
    changed = [(before ^ after).bit_count() for before, after in pairwise(words)]
    assert len(set(words)) == NUMBERS
    assert max(changed) <= 7
    assert sum(changed) / len(changed) < 3.5


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_picture_has_no_code(level: int) -> None:
    assert read(np.full((64, 64, 3), level, np.uint8)) == UNREADABLE


def test_of_made_up_cells_one_in_sixty_four_passes_for_a_code() -> None:
    rng = np.random.default_rng(1)
    cells = rng.integers(0, 2, (2000, 1, 16, 1), np.uint8) * 255
    passed = sum(
        read(np.broadcast_to(row.repeat(4, 1), (64, 64, 3)).copy()) != UNREADABLE for row in cells
    )
    assert passed / len(cells) == pytest.approx(1 / 64, rel=0.5)


@pytest.mark.parametrize("codec", ["av1", "vp8"])
def test_it_survives_the_thinnest_stream(codec: LrCodec) -> None:
    clip = [prepare(timed.frame, 256) for timed in read_frames(SAMPLES / "webcam.mp4")][:45]
    encoder, decoder = LrEncoder(Rung(codec, 64, 6.0), Fraction(30)), LrDecoder(codec)
    seen = []
    for number, frame in enumerate(clip):
        draw(frame, number)
        data = encoder.encode(resize(frame, 64)).data
        seen.append(read(resize(decoder.decode(data), 256)))
    assert seen == list(range(len(clip)))


def test_a_source_is_coded_and_left_as_it_is() -> None:
    feed = TimeCoded(PatternSource()).open(256, 15.0, 0.2)
    try:
        first = feed.pictures.peek()
        pictures = [picture for _ in range(6) if (picture := feed.pictures.get()) is not None]
        assert feed.pictures.get() is None
        assert feed.pictures.dropped == 0
    finally:
        feed.close()
    assert [read(picture.frame) for picture in pictures] == [0, 1, 2, 3, 4, 5]
    assert first is not None
    assert np.array_equal(first.frame, pictures[0].frame)
    plain = PatternSource().open(256, 15.0, 0.2)
    untouched = plain.pictures.get()
    plain.close()
    assert untouched is not None
    assert np.array_equal(untouched.frame, draw_pattern(256, 0))


def test_a_clip_keeps_its_sound() -> None:
    feed = TimeCoded(ClipSource(SAMPLES / "address.mp4")).open(256, 15.0, 1.0)
    feed.close()
    assert feed.sound is not None


SENT: list[LogRow] = [{"index": i, "time_s": i / 30, "captured_s": 5 + i / 30} for i in range(2000)]


def shown(index: int, code: int, age_s: float = 0.1) -> LogRow:
    captured_s = SENT[index]["captured_s"]
    seen = {"captured_s": captured_s, "shown_s": captured_s + age_s, "code": code}
    return seen | {"interpolated": False}


def test_ages_are_of_what_is_seen() -> None:
    said = tally(SENT, [shown(30, 30, 0.05), shown(31, 31, 0.07), shown(33, 32, 0.1)])
    assert (said["shown"], said["read"], said["late"]) == (3, 3, 1)
    assert (said["wrong"], said["unreadable"]) == (0, 0)
    assert said["ms"] == {"p50": 70.0, "p95": 133.33, "p99": 133.33}


def test_a_picture_made_from_two_others_has_no_code() -> None:
    said = tally(SENT, [shown(30, 30), shown(31, UNREADABLE) | {"interpolated": True}])
    assert (said["shown"], said["read"], said["unreadable"]) == (1, 1, 0)


def test_codes_go_round() -> None:
    said = tally(SENT, [shown(NUMBERS + 7, 7), shown(NUMBERS, NUMBERS - 1)])
    assert (said["read"], said["late"], said["wrong"]) == (2, 1, 0)


def test_codes_of_other_frames_are_wrong() -> None:
    """Of a frame to come, of one too long ago, and of a picture that says nothing of its time."""
    unknown = shown(50, 50) | {"captured_s": -1.0}
    said = tally(SENT, [shown(50, 51), shown(50, 10), unknown, shown(50, UNREADABLE)])
    assert (said["read"], said["wrong"], said["unreadable"]) == (0, 3, 1)
    assert said["ms"] == {"p50": None, "p95": None, "p99": None}


def test_a_call_tells_its_glass_to_glass_delay() -> None:
    media = MediaOptions(kbps=6.0, size_px=256, model=None, seconds=3, time_code=True)
    report = loopback.run(LoopbackOptions(None, media))
    said = report.glass_to_glass
    assert report.clip == "test pattern"
    assert said is not None
    assert said["shown"] == report.frames_shown > 0
    assert said["read"] >= 0.9 * said["shown"]
    assert said["wrong"] == 0
    assert report.latency_ms["p50"] is not None
    # Nothing is lost here, so both ways of telling agree.
    assert said["ms"]["p50"] == pytest.approx(report.latency_ms["p50"], abs=35)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loopback"], "--loopback needs a clip to send, or --test-pattern alone"),
        (["--loopback", "--test-pattern", "--loop"], "needs a clip to send"),
        (["--listen", "--test-pattern", "--time-code"], "--time-code goes with --loopback"),
    ],
)
def test_a_wrong_use_is_one_clear_line(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, CallError)
    assert said in str(done.exception)
