"""The command's options about sound, and what the doctor says of microphone and loudspeaker."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fake_card import FakeCard
from gemino.call.microphone import WithMicrophone
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import SAMPLE_RATE_HZ
from gemino.call.peer import Peer
from gemino.call.soundcard import PortAudioCard
from gemino.call.sources import PatternSource
from gemino.cli import call, sound
from gemino.cli.sound_checks import loudspeaker, microphone
from gemino.errors import CallError, MediaError
from gemino.media import read_audio
from signaling import SignalingServer
from speech import tone

COMMAND = [sys.executable, "-m", "gemino.cli.call"]
PEER = ["--peer", "room", "--server", "ws://127.0.0.1:1/ws"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--loopback", "x.mp4", "--audio-kbps", "5"], "audio-kbps must be in 6..32, not 5"),
        (["--loopback", "x.mp4", "--audio-ptime", "10"], "audio-ptime must be 20, 40 or 60"),
        (["--loopback", "x.mp4", "--mic"], "--loopback sends the clip's own sound"),
        ([*PEER, "-o", "x.mp4", "--mic", "default"], "--mic goes with pictures"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(arguments: list[str], says: str) -> None:
    error = CliRunner().invoke(call.app, arguments).exception
    assert isinstance(error, CallError)
    assert says in str(error)
    assert "\n" not in str(error)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    """The only sound card that this process knows."""
    fake = FakeCard(lambda _at, count: np.full(count, 8_000, np.int16))
    for name in ("devices", "record", "play"):
        method = getattr(fake, name)
        monkeypatch.setattr(PortAudioCard, name, lambda _self, *rest, method=method: method(*rest))
    yield fake
    fake.unplug()


def test_devices_are_listed(card: FakeCard, capsys: pytest.CaptureFixture[str]) -> None:
    sound.print_devices("input")
    assert capsys.readouterr().out == "fake input  (test, default)\n"
    card.unplug()
    sound.print_devices("output")
    assert capsys.readouterr().out == "no loudspeaker is connected\n"


def test_a_camera_brings_a_microphone_and_a_clip_its_own_sound(card: FakeCard) -> None:
    source = PatternSource()
    assert sound.with_microphone(source, None, None, None) is source
    assert sound.with_microphone(source, sound.OFF, "0", None) is source
    brought = sound.with_microphone(source, None, "0", None)
    assert isinstance(brought, WithMicrophone)
    assert not brought.needed
    asked = sound.with_microphone(source, "fake", None, None)
    assert isinstance(asked, WithMicrophone)
    assert (asked.name, asked.needed) == ("fake", True)
    with pytest.raises(MediaError, match="there is no microphone 'studio'"):
        sound.with_microphone(source, "studio", None, None)
    with pytest.raises(CallError, match="goes with pictures"):
        sound.with_microphone(None, "fake", None, None)
    assert card.opened == 0


def test_a_picture_that_is_shown_brings_a_loudspeaker(
    card: FakeCard, caplog: pytest.LogCaptureFixture
) -> None:
    for asked, shown, plays in ((None, True, True), (None, False, False), ("off", True, False)):
        with sound.opened_speaker(asked, shown=shown) as speaker:
            assert (speaker is not None) == plays
    card.unplug()
    with sound.opened_speaker(None, shown=True) as speaker:
        assert speaker is None
    assert "sound is not played: the fake card is not plugged in" in caplog.text
    with (
        pytest.raises(MediaError, match="not plugged in"),
        sound.opened_speaker("default", shown=False),
    ):
        pass


def test_the_doctor_listens_and_plays() -> None:
    loud = FakeCard(lambda _at, count: np.full(count, 8_000, np.int16))
    assert microphone(loud)[:2] == ("ok", "fake input hears something (-12.2 dB at most)")
    assert loudspeaker(loud)[:2] == ("ok", "fake output plays")
    assert microphone(FakeCard())[1] == "fake input hears nothing at all: is it muted?"
    loud.unplug()
    assert microphone(loud)[:2] == ("note", "no microphone is connected; calls work without")
    assert loudspeaker(loud)[:2] == ("note", "no loudspeaker is connected; calls work without")


async def test_what_a_microphone_hears_reaches_the_other_side(tmp_path: Path) -> None:
    """From a fake card here, through a real call, into a child's recording."""
    beeps = np.concatenate([tone(0.5), np.zeros(SAMPLE_RATE_HZ // 2, np.int16)])
    card = FakeCard(lambda at, count: np.take(beeps, range(at, at + count), mode="wrap"))
    output = tmp_path / "received.mp4"
    async with SignalingServer("127.0.0.1", 0) as server:
        command = [*COMMAND, "--peer", "mic", "--local", "--server", server.url, "--size", "256"]
        child = await asyncio.create_subprocess_exec(*command, "--model", "none", "-o", str(output))
        options = PeerOptions(
            room="mic",
            server_url=server.url,
            media=MediaOptions(size_px=256, model=None, seconds=4.0),
            source=WithMicrophone(PatternSource(), card=card),
            local=True,
        )
        await Peer(options, lambda _peer, _now: None).run()
        assert await asyncio.wait_for(child.wait(), 60) == 0
    heard = np.concatenate(list(read_audio(output, SAMPLE_RATE_HZ)))
    assert 3.0 < len(heard) / SAMPLE_RATE_HZ < 4.6
    loud = np.abs(heard[: len(heard) // 960 * 960].reshape(-1, 960)).max(1) > 2_000
    assert 0.35 < loud.mean() < 0.65  # half the time, as it was heard
    assert 5 <= int(np.abs(np.diff(loud.astype(int))).sum()) <= 10
