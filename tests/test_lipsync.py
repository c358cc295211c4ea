"""Lip sync: what waits for what, in virtual time and in a real call with a fake card."""

import asyncio
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fake_card import FakeCard
from gemino.call.display import ShownFrame
from gemino.call.lipsync import Lags, LipSync
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import SAMPLE_RATE_HZ
from gemino.call.peer import Peer
from gemino.call.speaker import Speaker
from gemino.frames import Frame
from gemino.media import read_audio
from signaling import SignalingServer
from speech import ADDRESS, best_shift, speech

HOURS_APART = 7_200.0
"""Between the two machines' clocks: it must not matter."""


def shown(number: int) -> ShownFrame:
    return ShownFrame(np.zeros((2, 2, 3), np.uint8), number / 25, number * 3_600, 0.0, True, 2)


def test_a_picture_waits_for_its_sound() -> None:
    lags = Lags()
    assert lags.ready(HOURS_APART + 1.0, 1.05) == 1.05  # nothing is heard yet
    lags.heard(HOURS_APART + 1.0, 1.2)
    assert lags.ready(HOURS_APART + 1.1, 1.15) == pytest.approx(1.3)
    assert lags.hold_back_s(0.06, 1.2) == 0.0


def test_sound_is_held_back_where_pictures_are_late() -> None:
    lags = Lags()
    for number in range(50):
        now = 10 + number * 0.04
        lags.heard(now - 0.15 - HOURS_APART, now)
        due = lags.ready(now - 0.25 - HOURS_APART, now)
        assert due == now  # it is late already
    assert lags.hold_back_s(0.06, 12.0) == pytest.approx(0.16, abs=0.005)


def test_what_is_far_off_or_long_past_holds_nothing() -> None:
    lags = Lags()
    lags.heard(0.0, 5.0)
    assert lags.ready(4.95, 5.0) == 5.0  # five seconds of lag are no lip sync
    assert lags.sound_s(7.0) is None
    assert lags.hold_back_s(0.1, 7.0) == 0.0
    lags.heard(6.9, 7.0)
    assert lags.sound_s(7.0) == pytest.approx(0.1)  # at once, not by and by
    for _ in range(100):
        lags.ready(0.0, 7.0)
    assert lags.hold_back_s(0.1, 7.0) == 0.4


def test_pictures_leave_in_order_and_all_of_them_at_the_end() -> None:
    seen: list[int] = []
    lips = LipSync(lambda one: seen.append(one.timestamp // 3_600))
    now = time.monotonic()
    lips.heard(now, now + 0.3)
    for number in range(5):
        lips.put(shown(number), now + number * 0.01)
    assert seen == []
    lips.close()
    assert seen == [0, 1, 2, 3, 4]


class Screen:
    """When each picture was shown, and its time in the clip."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, float]] = []

    def show(self, shown: ShownFrame) -> None:
        self.shown.append((time.monotonic(), shown.media_time_s))

    def show_self(self, frame: Frame, taken_s: float) -> None:  # noqa: ARG002
        raise AssertionError("nothing is sent")

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.timeout(240)
async def test_sound_and_picture_of_a_call_are_heard_and_seen_together(tmp_path: Path) -> None:
    """On a starved machine pictures come late, whatever is done: the best of three calls counts."""
    apart: list[float] = []
    for number in range(3):
        recording = tmp_path / f"{number}.mp4"
        apart.append(await heard_ahead_of_seen(recording))
        recorded = np.concatenate(list(read_audio(recording, SAMPLE_RATE_HZ)))
        assert abs(best_shift(recorded[:192_000], speech(), 0.0)) < 0.045
        if abs(apart[-1]) < 0.045:
            return
    pytest.fail(f"sound is ahead by {apart} seconds")


async def heard_ahead_of_seen(recording: Path) -> float:
    """A child sends the address clip; here it is shown, played and recorded. Seconds."""
    card, screen = FakeCard(), Screen()
    speaker = Speaker(card=card)
    async with SignalingServer("127.0.0.1", 0) as server:
        command = [sys.executable, "-m", "gemino.cli.call", "--peer", "lips", "--local"]
        command += ["--server", server.url, "--input", str(ADDRESS), "--size", "256"]
        command += ["--model", "none", "--seconds", "6"]
        child = await asyncio.create_subprocess_exec(*command)
        options = PeerOptions(
            room="lips",
            server_url=server.url,
            media=MediaOptions(size_px=256, model=None),
            output=recording,
            local=True,
            displays=(screen,),
            speaker=speaker,
        )
        try:
            await Peer(options, lambda _peer, _now: None).run()
        finally:
            speaker.close()
            await asyncio.wait_for(child.wait(), 60)
    seen_s, media_s = np.array(screen.shown).T
    apart = []
    for second in range(2, 5):
        at = int(np.searchsorted(media_s, second))
        heard = card.heard_since(float(seen_s[at]))[:SAMPLE_RATE_HZ]
        first = min(when for when, _ in card.played if when >= seen_s[at])
        meant_s = float(media_s[at]) + first - float(seen_s[at])
        apart.append(best_shift(heard, speech(), meant_s))
    return float(np.median(apart))
