"""Recordings of whole calls: both sides in step, playable after a kill; and a full disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gemino.call.display import Listener, ShownFrame
from gemino.call.mixing import Mixer, Timeline
from gemino.call.movie import CallMovie
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.media import probe, read_audio, read_frames

SIZE_PX = 64
DARK, LIGHT = 30, 230
BLOCK = SAMPLE_RATE_HZ // 50


def plain(value: int, size_px: int = SIZE_PX) -> Frame:
    return np.full((size_px, size_px, 3), value, np.uint8)


def beep(loud: bool) -> Samples:
    wave = np.sin(2 * np.pi * 1000 * np.arange(BLOCK) / SAMPLE_RATE_HZ)
    return (wave * (12_000 if loud else 0)).astype(np.int16)


def play(movie: CallMovie, seconds: float, began_s: float) -> None:
    """A call, told as fast as it can be: each side flashes and beeps for 0.2 s every second.

    Ours at whole seconds, theirs half a second later, shown 80 ms late with a jitter of 10.
    """
    for step in range(round(seconds * 50)):
        time_s = step / 50
        ours, theirs = time_s % 1 < 0.2, (time_s + 0.5) % 1 < 0.2
        movie.hear_self(beep(ours), began_s + time_s)
        movie.hear(beep(theirs))
        if step % 2 == 0:
            movie.show_self(plain(LIGHT if ours else DARK), began_s + time_s)
            frame = plain(LIGHT if theirs else DARK)
            late_s = 0.08 + 0.01 * (-1) ** (step // 2)
            movie.show(ShownFrame(frame, time_s, step, began_s + time_s + late_s, True, 128))


def rises(values: NDArray[np.float64], times: NDArray[np.float64]) -> list[float]:
    above = values > values.min() + 0.5 * (values.max() - values.min())
    return [float(times[at + 1]) for at in np.flatnonzero(~above[:-1] & above[1:])]


def test_pictures_and_sound_of_both_sides_stay_in_step(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    movie = CallMovie(path, SIZE_PX, both=True)
    assert isinstance(movie, Listener)
    play(movie, 1.5, time.monotonic() - 1.5)  # so that its end is past when the file is finished
    movie.close()
    movie.close()
    assert movie.failure is None
    info = probe(path)
    assert (info.width, info.height, info.has_audio) == (2 * SIZE_PX, SIZE_PX, True)
    frames = list(read_frames(path))
    times = np.array([timed.time_s for timed in frames])
    left = np.array([timed.frame[:, :SIZE_PX].mean() for timed in frames])
    right = np.array([timed.frame[:, SIZE_PX:].mean() for timed in frames])
    sound = np.concatenate(list(read_audio(path, SAMPLE_RATE_HZ))).astype(float)
    steps = len(sound) // 240
    loudness = np.abs(sound[: steps * 240].reshape(steps, 240)).mean(axis=1)
    heard = rises(loudness, np.arange(steps) * 240 / SAMPLE_RATE_HZ)
    assert rises(right, times)[0] == pytest.approx(1.0, abs=0.04)
    assert rises(left, times)[0] == pytest.approx(0.5 + 0.08, abs=0.045)
    assert heard[-2:] == [pytest.approx(0.58, abs=0.04), pytest.approx(1.0, abs=0.04)]


def test_one_side_alone_has_the_whole_picture(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    movie = CallMovie(path, 1024, both=False)
    movie.show_self(plain(LIGHT, 1024), time.monotonic())
    movie.show(ShownFrame(plain(LIGHT, 1024), 0.0, 0, time.monotonic(), False, 128))
    time.sleep(0.1)
    movie.close()
    assert (probe(path).width, probe(path).height) == (512, 512)
    assert next(read_frames(path)).frame.mean() == pytest.approx(LIGHT, abs=3)


def test_a_call_without_a_picture_leaves_a_file_and_no_error(tmp_path: Path) -> None:
    movie = CallMovie(tmp_path / "call.mp4", SIZE_PX, both=True)
    movie.hear(beep(True))
    movie.hear_self(beep(True), time.monotonic())
    movie.close()
    assert movie.failure is None


_RECORD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_movie import play
from gemino.call.movie import CallMovie
movie = CallMovie(Path({path!r}), 64, both=True)
play(movie, 2.4, time.monotonic() - 2.4)
print("told", flush=True)
time.sleep(60)
"""


def test_a_recording_plays_after_its_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    program = _RECORD.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"told\n"
        deadline = time.monotonic() + 30
        while _length(path) < 1.5 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    frames = list(read_frames(path))
    assert frames[-1].time_s > 1.0
    assert len(frames) > 20
    sound = np.concatenate(list(read_audio(path, SAMPLE_RATE_HZ)))
    assert len(sound) / SAMPLE_RATE_HZ > 1.0


def _length(path: Path) -> float:
    """Seconds that can be read of a file that is still written."""
    try:
        return [timed.time_s for timed in read_frames(path)][-1]
    except MediaError:  # it is not there yet, or not whole
        return 0.0


_FULL = """
import logging, resource, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_movie import play
from gemino.call.movie import CallMovie
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))
logging.basicConfig(format="%(message)s")
movie = CallMovie(Path({path!r}), 64, both=True)
for _ in range(4):
    play(movie, 2, time.monotonic() - 2)
    time.sleep(0.3)
movie.close()
assert movie.failure is not None
print("the call went on")
"""


def test_a_full_disk_ends_the_recording_with_a_line_and_not_the_call(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    program = _FULL.format(tests=str(Path(__file__).parent), path=str(path))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "the call went on\n"
    told = [line for line in done.stderr.splitlines() if "the recording stops" in line]
    assert len(told) == 1
    assert "call.mp4: cannot be written (File too large)" in told[0]


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 500)), max_size=12), st.data())
def test_a_mixer_gives_every_sample_once_and_in_place(
    blocks: list[tuple[int, int]], data: st.DataObject
) -> None:
    mixer, expected, taken = Mixer(), np.zeros(4000, np.int64), 0
    parts: list[Samples] = []
    for at, count in blocks:
        mixer.add(at, np.full(count, 7, np.int16))
        expected[max(at, taken) : max(at + count, taken)] += 7
        until = data.draw(st.integers(0, 4000))
        parts.append(mixer.take(until))
        taken = max(taken, until)
    parts.append(mixer.take(4000))
    assert np.concatenate(parts).tolist() == expected.tolist()


def test_a_mixer_clips_and_is_bounded() -> None:
    mixer = Mixer()
    for _ in range(3):
        mixer.add(0, np.full(100, 30_000, np.int16))
    mixer.add(10**12, np.full(100, 1, np.int16))
    mixer.add(-(10**12), np.full(100, 1, np.int16))
    assert mixer.take(200).tolist() == [32767] * 100 + [0] * 100
    mixer.add(10 * SAMPLE_RATE_HZ, np.ones(SAMPLE_RATE_HZ, np.int16))
    assert len(mixer._mix) <= 10 * SAMPLE_RATE_HZ


def test_a_clock_that_drifts_moves_sound_and_pictures_together() -> None:
    """Their clock runs 0.1 % slow: after five minutes 0.3 s, followed in steps nobody hears."""
    timeline, wrong = Timeline(SIZE_PX, both=False), 0
    for step in range(5 * 60 * 25):
        media_s = step / 25
        shown_s = 100 + media_s * 1.001
        timeline.show(plain(step % 200), media_s, shown_s)
        timeline.hear(np.full(SAMPLE_RATE_HZ // 25, step % 200, np.int16))
        if step < 50:
            continue
        now = shown_s - 100
        picture = timeline.picture(now)
        sound = timeline.sound(now)
        assert picture is not None
        wrong += abs(int(picture[0, 0, 0]) - int(sound[-1])) % 198 > 2
    assert wrong < 10
