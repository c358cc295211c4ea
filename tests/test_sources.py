"""What a peer can send apart from a camera: clips, clips in a loop, a test pattern."""

import shutil
import threading
import time
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemino.call.audio import BLOCK_SAMPLES
from gemino.call.opus import SAMPLE_RATE_HZ
from gemino.call.pattern import PATTERN_FPS, draw_pattern, time_code
from gemino.call.readahead import ReadAhead
from gemino.call.sources import ClipSource, Feed, PatternSource, Schedule
from gemino.call.tracks import MAX_LATE_S, MediaClock, SourceFrame
from gemino.config import frame_step
from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.media import MovieWriter, TimedFrame, length_s, probe, read_frames

SAMPLES = Path(__file__).parents[1] / "samples"
SIZE_PX = 64


def taken(feed: Feed, frames: int) -> list[SourceFrame]:
    got = [feed.pictures.get() for _ in range(frames)]
    assert None not in got
    return [frame for frame in got if frame is not None]


def heard(feed: Feed, blocks: int) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    assert feed.sound is not None
    got = [feed.sound.get() for _ in range(blocks)]
    return np.concatenate([block for block in got if block is not None])


def clapper(path: Path, frames: int, fps: int, at: int, *, sound_s: float) -> Path:
    """A dark, silent clip but for frame `at`, which is white and loud."""
    with MovieWriter(
        path, (SIZE_PX, SIZE_PX), Fraction(fps), audio_rate_hz=SAMPLE_RATE_HZ
    ) as movie:
        for number in range(frames):
            level = 255 if number == at else 0
            movie.write(np.full((SIZE_PX, SIZE_PX, 3), level, np.uint8), number / fps)
        sound = np.zeros(round(sound_s * SAMPLE_RATE_HZ), np.int16)
        first = at * SAMPLE_RATE_HZ // fps
        sound[first : first + SAMPLE_RATE_HZ // fps] = 20_000
        movie.write_audio(sound)
    return path


@pytest.mark.parametrize("sound_s", [1.0, 1.5, 2.3], ids=["short", "as long", "longer"])
def test_a_loop_keeps_sound_and_picture_together(sound_s: float, tmp_path: Path) -> None:
    clip = clapper(tmp_path / "clip.mkv", 15, 10, 4, sound_s=sound_s)
    feed = ClipSource(clip, loop=True).open(SIZE_PX, 15, None)
    frames = taken(feed, 4 * 15)
    sound = heard(feed, round(6.0 * SAMPLE_RATE_HZ / BLOCK_SAMPLES))
    feed.close()
    assert [frame.index for frame in frames] == list(range(60))
    seen_s = [frame.time_s for frame in frames if frame.frame.mean() > 128]
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 10_000)
    heard_s = loud[np.flatnonzero(np.diff(loud, prepend=-SAMPLE_RATE_HZ) > 1_000)] / SAMPLE_RATE_HZ
    assert seen_s == pytest.approx([0.4, 1.9, 3.4, 4.9], abs=0.002)
    assert list(heard_s) == pytest.approx(seen_s, abs=0.02)


def test_a_loop_of_one_picture_does_not_run_hot(tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    cv2.imwrite(str(still), np.full((SIZE_PX, SIZE_PX, 3), 90, np.uint8))
    feed = ClipSource(still, loop=True).open(SIZE_PX, 40, None)
    assert [frame.time_s for frame in taken(feed, 3)] == pytest.approx([0.0, 0.2, 0.4])
    feed.close()


def test_a_clip_and_its_sound_end_when_asked_to() -> None:
    feed = ClipSource(SAMPLES / "address.mp4", loop=True).open(SIZE_PX, 40, 0.5)
    frames = taken(feed, 13)
    assert feed.pictures.get() is None
    assert frames[-1].time_s == pytest.approx(0.48, abs=0.01)
    assert len(heard(feed, 60)) == pytest.approx(0.5 * SAMPLE_RATE_HZ, abs=BLOCK_SAMPLES)


@pytest.mark.parametrize(("kbps", "step"), [(15, 4), (40, 2), (100, 1)])
def test_a_thin_stream_of_a_fast_clip_leaves_frames_out(
    kbps: float, step: int, tmp_path: Path
) -> None:
    clip = clapper(tmp_path / "clip.mkv", 12, 60, 0, sound_s=0.2)
    feed = ClipSource(clip).open(SIZE_PX, kbps, None)
    assert feed.fps == 60 / frame_step(Fraction(60), kbps) == 60 / step
    assert [frame.index for frame in taken(feed, 12 // step)] == list(range(0, 12, step))
    assert feed.pictures.get() is None


@pytest.mark.parametrize("name", ["webcam.mp4", "address.mp4"])
def test_the_length_of_a_clip_is_that_of_its_pictures(name: str) -> None:
    clip = SAMPLES / name
    last_s = max(timed.time_s for timed in read_frames(clip))
    assert length_s(clip) == pytest.approx(last_s + 1 / float(probe(clip).fps), abs=0.05)


def test_a_length_needs_a_clip_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        length_s(tmp_path / "none.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((SAMPLES / "webcam.mp4").read_bytes()[:200_000])
    assert 0.5 < length_s(cut) < 8.0  # up to where it breaks off


def test_frames_that_come_too_late_are_left_out_but_not_all() -> None:
    clock = MediaClock()
    clock.start()
    clock.start_s -= 60  # everything is a minute late
    timed = (TimedFrame(np.zeros((8, 8, 3), np.uint8), number / 10) for number in count())
    schedule = Schedule(timed, 8, 3.0, clock)
    assert [frame.index for frame in schedule] == [5, 10, 15, 20, 25]
    assert schedule.dropped == 25
    assert MAX_LATE_S < 60


@pytest.mark.parametrize("depth", [1, 6])
def test_who_waits_for_more_of_what_is_closed_gets_its_end(depth: int) -> None:
    ahead = ReadAhead(count(), depth)
    got: list[int | None] = [ahead.get()]

    def take_all() -> None:
        while got[-1] is not None:
            got.append(ahead.get())

    while ahead._queue.qsize() < depth:
        time.sleep(0.01)
    ahead.close()
    time.sleep(0.2)  # what is ahead is full, and stays so
    taker = threading.Thread(target=take_all, daemon=True)
    taker.start()
    taker.join(30)
    assert not taker.is_alive()
    assert ahead.get() is None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_clip_that_is_not_read_any_more_is_not_open_any_more(tmp_path: Path) -> None:
    clip = Path(shutil.copy(SAMPLES / "address.mp4", tmp_path))

    def times_open() -> int:
        return sum(fd.resolve() == clip for fd in Path("/proc/self/fd").glob("*"))

    feed = ClipSource(clip, loop=True).open(256, 15.0, None)
    assert feed.pictures.get() is not None
    assert times_open() > 0
    feed.close()
    deadline = time.monotonic() + 20
    while times_open():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_pattern_has_no_end_and_each_frame_is_new() -> None:
    feed = PatternSource().open(256, 15, None)
    frames = taken(feed, 50)
    feed.close()
    assert [frame.time_s for frame in frames] == [number / PATTERN_FPS for number in range(50)]
    assert all(frame.frame.shape == (256, 256, 3) for frame in frames)
    assert feed.sound is None

    def differ(one: Frame, other: Frame) -> float:
        return float((one != other).any(axis=2).mean())

    for one, other in zip(frames, islice(frames, 1, None), strict=False):
        assert 0 < differ(one.frame[:150], other.frame[:150]) < 0.2  # the disc
        assert 0 < differ(one.frame[200:], other.frame[200:]) < 0.2  # the time code
        assert differ(one.frame[160:199], other.frame[160:199]) == 0
    assert np.array_equal(frames[7].frame, draw_pattern(256, 7))


def test_the_pattern_ends_when_asked_to() -> None:
    feed = PatternSource().open(256, 15, 0.2)
    assert len(taken(feed, 6)) == 6
    assert feed.pictures.get() is None


def test_the_time_code_counts_frames() -> None:
    codes = [time_code(index) for index in (0, 29, 30, 30 * 61 + 5, 30 * 3600 * 25)]
    assert codes == ["00:00:00:00", "00:00:00:29", "00:00:01:00", "00:01:01:05", "25:00:00:00"]
