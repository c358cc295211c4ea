"""Microphone and loudspeaker: a fake card with threads of its own, and PortAudio without any."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import count as numbers
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fake_card import FakeCard
from gemino.call import soundcard
from gemino.call.microphone import BLOCK_SAMPLES, Alignment, Microphone, WithMicrophone
from gemino.call.opus import SAMPLE_RATE_HZ, OpusSettings, Samples
from gemino.call.soundcard import PortAudioCard, find_device
from gemino.call.sources import PatternSource
from gemino.call.speaker import Speaker
from gemino.call.tracks import MediaClock
from gemino.errors import MediaError
from speech import packets_of, tone

ALSA = Path("/usr/share/alsa/alsa.conf")
_PATIENCE_S = 20.0


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def ramp(at: int, count: int) -> Samples:
    """Sound that tells which sample it is, 1 s long."""
    return (np.arange(at, at + count) % SAMPLE_RATE_HZ // 4 + 1).astype(np.int16)


@pytest.mark.parametrize("ppm", [200, -200])
def test_half_an_hour_of_a_cards_own_clock_stays_with_the_calls(ppm: float) -> None:
    rng, alignment, off = np.random.default_rng(1), Alignment(), []
    block, clock_hz, wrap = 2_880, SAMPLE_RATE_HZ * (1 + ppm * 1e-6), 30_000
    for start in range(0, 1_800 * SAMPLE_RATE_HZ, block):
        told = np.arange(start, start + block) // 48 % wrap  # the card's milliseconds
        late_s = rng.uniform(0, 0.004)
        alignment.put(told.astype(np.int16), (start + block) / clock_hz + late_s)
        while alignment.ready(block):
            position_ms = alignment.position / 48
            heard_ms = int(alignment.take(block)[0]) * SAMPLE_RATE_HZ / clock_hz
            period_ms = wrap * SAMPLE_RATE_HZ / clock_hz
            off.append((position_ms - heard_ms + period_ms / 2) % period_ms - period_ms / 2)
    settled = np.array(off[1_000:])
    assert len(settled) > 28_000
    # 2 ms is the mean of what the callbacks were late; where the numbers wrap they mean nothing.
    assert np.percentile(np.abs(settled - 2), 99.9) < 10


def test_a_microphone_gives_sound_of_the_calls_time() -> None:
    clock = MediaClock()
    card = FakeCard(ramp)
    microphone = Microphone(None, clock, card=card)
    time.sleep(0.1)  # what is heard before the call is not of it
    clock._started.set()
    clock.start_s = time.monotonic()
    start = time.monotonic()
    blocks = [microphone.get() for _ in range(50)]
    took_s = time.monotonic() - start
    microphone.close()
    assert microphone.get() is None
    sound = np.concatenate([block for block in blocks if block is not None])
    assert took_s > 0.9
    assert len(sound) == SAMPLE_RATE_HZ
    steps = np.diff(sound[sound > 0].astype(int))
    assert np.mean((steps >= 0) & (steps <= 1)) > 0.99  # one run, not pieces


def test_an_unplugged_microphone_is_silence_until_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    clock, card = MediaClock(), FakeCard(lambda _at, count: np.full(count, 5_000, np.int16))
    clock._started.set()
    clock.start_s = time.monotonic()
    microphone = Microphone(None, clock, card=card)
    heard: list[bool] = []

    def listen(wanted: bool) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            block = microphone.get()
            assert block is not None
            assert len(block) == BLOCK_SAMPLES
            heard.append(bool(block.any()))
            if heard[-5:] == [wanted] * 5:
                return
        pytest.fail("it never came about")

    listen(True)
    card.unplug()
    listen(False)
    until(lambda: "the microphone is gone" in caplog.text)
    card.plug()
    listen(True)
    until(lambda: "the microphone is back" in caplog.text)
    microphone.close()
    assert caplog.text.count("is gone") == 1
    assert len(heard) * 0.02 == pytest.approx(time.monotonic() - clock.start_s, abs=1.5)


def test_a_source_gets_a_microphone_and_goes_on_without_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = WithMicrophone(PatternSource(), card=FakeCard(ramp)).open(64, 15, None)
    assert feed.sound is not None
    assert feed.fps == Fraction(30)
    feed.close()
    without = FakeCard()
    without.unplug()
    feed = WithMicrophone(PatternSource(), card=without).open(64, 15, None)
    assert feed.sound is None
    assert "no sound is sent: the fake card is not plugged in" in caplog.text
    feed.close()
    with pytest.raises(MediaError, match="not plugged in"):
        WithMicrophone(PatternSource(), None, True, without).open(64, 15, None)


def test_a_loudspeaker_plays_what_comes(caplog: pytest.LogCaptureFixture) -> None:
    card = FakeCard()
    speaker = Speaker(card=card)
    assert speaker.heard() is None
    start = time.monotonic()
    for number, packet in zip(numbers(), packets_of(tone(2.0), OpusSettings(16, 20))):
        time.sleep(max(start + number * 0.02 - time.monotonic(), 0))
        speaker.push(packet, time.monotonic())
    heard = speaker.heard()
    assert heard is not None
    timestamp, at = heard
    assert 0 < timestamp < 96_000
    assert abs(at - time.monotonic()) < 1.0
    card.unplug()
    until(lambda: "the loudspeaker is gone" in caplog.text)
    card.plug()
    until(lambda: card.opened == 2)
    speaker.close()
    sound = card.heard_since(0)
    loud = np.abs(sound.reshape(-1, 960)).max(1) > 4_000
    assert loud.sum() > 60  # most of the 100 blocks, however busy the machine


def test_devices_are_found_by_a_part_of_their_name() -> None:
    card = FakeCard()
    assert find_device(card, "input", None).name == "fake input"
    assert find_device(card, "output", "OUT").name == "fake output"
    with pytest.raises(MediaError, match=r"no microphone 'x'; --mic list names"):
        find_device(card, "input", "x")
    card.unplug()
    with pytest.raises(MediaError, match="no loudspeaker is connected; --speaker off"):
        find_device(card, "output", None)


def test_without_portaudio_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MediaError, match="apt install libportaudio2"):
        PortAudioCard().devices("input")


def test_a_device_that_opens_and_does_not_start_is_let_go_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    class Stuck:
        """A stream of sounddevice's on a card that another program has."""

        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            raise ValueError("Device unavailable")

        def close(self, *, ignore_errors: bool) -> None:
            closed.append(ignore_errors)

    portaudio = SimpleNamespace(
        InputStream=Stuck,
        PortAudioError=ValueError,
        default=SimpleNamespace(device={"input": 0}),
        query_hostapis=lambda: [{"name": "ALSA"}],
        query_devices=lambda: [{"name": "mic", "hostapi": 0, "max_input_channels": 1}],
    )
    monkeypatch.setattr(soundcard, "_portaudio", lambda: portaudio)
    with pytest.raises(MediaError, match="the microphone cannot be opened: Device unavailable"):
        PortAudioCard().record(None, lambda *_: None)
    assert closed == [True]


def test_a_device_that_cannot_even_be_asked_is_not_alive() -> None:
    class Gone:
        @property
        def active(self) -> bool:
            raise RuntimeError("PaErrorCode -9988")

    assert not soundcard._Stream(Gone()).alive()


def test_times_that_a_driver_makes_up_are_not_believed() -> None:
    assert soundcard._clamped(-5.0) == 0.0
    assert soundcard._clamped(0.03) == 0.03
    assert soundcard._clamped(1e9) == 0.0


_PROGRAM = """
import sys, threading, time
import numpy as np
from gemino.call.soundcard import PortAudioCard
card, heard, done = PortAudioCard(), [], threading.Event()
print([device.name for device in card.devices("input")])
def deliver(samples, at):
    if len(heard) < 40:
        heard.append(samples)
    else:
        done.set()
open_device = card.record("filemic", deliver)
done.wait(20); print(open_device.alive()); open_device.close(); open_device.close()
print(int(np.concatenate(heard)[100]), len(heard[0]))
played, finished = [0], threading.Event()
def pull(count, until_s):
    played[0] += 1
    if played[0] > 20:
        finished.set()
    return np.full(count, 1234, np.int16)
open_device = card.play(None, pull)
finished.wait(20); open_device.close(); print(played[0] > 20)
"""


def _run_with_alsa(folder: Path, program: str) -> "subprocess.CompletedProcess[str]":
    """In a child whose only sound device is a pair of files."""
    np.arange(2_000_000, dtype=np.int16).tofile(folder / "in.raw")
    (folder / "asound.conf").write_text(
        "pcm.filemic {\n type file\n slave.pcm { type null }\n format raw\n"
        f' file "{folder}/out.raw"\n infile "{folder}/in.raw"\n'
        ' hint { show on description "a file" }\n}\n'
    )
    environment: dict[str, Any] = {
        **os.environ,
        "ALSA_CONFIG_PATH": f"{ALSA}:{folder}/asound.conf",
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _has_portaudio() -> bool:
    try:
        PortAudioCard().devices("input")
    except MediaError:
        return False
    return True


@pytest.mark.skipif(not (ALSA.exists() and _has_portaudio()), reason="needs PortAudio on ALSA")
def test_portaudio_records_and_plays(tmp_path: Path) -> None:
    """Real streams of PortAudio, on an ALSA device that reads and writes files."""
    done = _run_with_alsa(tmp_path, _PROGRAM)
    assert done.returncode == 0, done.stderr
    names, alive, sample, played = done.stdout.splitlines()
    assert "filemic" in names
    assert alive == "True"
    assert sample.endswith(" 960")
    assert played == "True"
    assert (tmp_path / "out.raw").stat().st_size > 0
