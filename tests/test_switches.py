"""Mute, camera off, pause, and another source in mid-call: real peers over UDP."""

import asyncio
import contextlib
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import aioice.ice
import numpy as np
import pytest

from gemino.call.display import ShownFrame
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import Samples
from gemino.call.peer import Interrupted, Peer
from gemino.call.readahead import ReadAhead
from gemino.call.sources import Feed, Schedule, ScheduledPictures, Source
from gemino.call.tracks import MediaClock
from gemino.cli import keys
from gemino.errors import CallError, MediaError
from gemino.frames import Frame
from gemino.media import TimedFrame
from signaling import SignalingServer

SIZE_PX = 256


@dataclass(frozen=True)
class Colour:
    """A source of one colour and a tone, without an end."""

    level: int
    with_sound: bool = True

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        del kbps
        clock = MediaClock()
        frame = np.full((size_px, size_px, 3), self.level, np.uint8)
        frames = (TimedFrame(frame, number / 15) for number in count())
        feed = Feed(
            clock, Fraction(15), ScheduledPictures(Schedule(frames, size_px, seconds, clock))
        )
        if self.with_sound:
            tone = (9000 * np.sin(np.arange(960) * 2 * np.pi / 48)).astype(np.int16)  # 1 kHz
            feed.sound = ReadAhead((tone for _ in count()), 4)
        return feed


class Watcher:
    """A display that keeps the newest picture's level and how loud the newest sound is."""

    def __init__(self) -> None:
        self.level = -1.0
        self.frames = 0
        self.times: list[float] = []
        self.loudness = -1.0

    def show(self, shown: ShownFrame) -> None:
        self.level = float(shown.frame.mean())
        self.frames += 1
        self.times.append(shown.media_time_s)

    def show_self(self, frame: Frame, taken_s: float) -> None:
        pass

    def close(self) -> None:
        pass

    def hear(self, samples: Samples) -> None:
        self.loudness = float(np.abs(samples).max(initial=0))

    def hear_self(self, samples: Samples, taken_s: float) -> None:
        pass


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not reached():  # noqa: ASYNC110 - others count, nobody tells
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def call(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Peer, Peer, Watcher]]:
    """A sender, a receiver and what it shows, in a call that goes on meanwhile."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    watcher = Watcher()
    media = MediaOptions(kbps=30, size_px=SIZE_PX, model=None)
    async with SignalingServer() as server:
        sender = Peer(
            PeerOptions("room", server.url, media, source=source, local=True), lambda *_: None
        )
        receiver = Peer(
            PeerOptions(
                "room",
                server.url,
                media,
                output=folder / "out.mp4",
                displays=(watcher,),
                local=True,
            ),
            lambda *_: None,
        )
        tasks = [asyncio.create_task(peer.run()) for peer in (sender, receiver)]
        try:
            await until(lambda: watcher.frames > 3 or any(task.done() for task in tasks))
            yield sender, receiver, watcher
        finally:
            sender.stop()
            ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            assert isinstance(ends[0], Interrupted), ends
            assert ends[1] is None


async def test_what_is_switched_off_is_neither_seen_nor_heard_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with call(Colour(90), tmp_path, monkeypatch) as (sender, receiver, watcher):
        assert sender.outgoing is not None
        assert receiver.incoming is not None
        theirs = receiver.incoming.counters
        await until(lambda: watcher.loudness > 4000)
        sender.mute(True)
        await until(lambda: theirs.sound_off and watcher.loudness < 200)
        assert not theirs.picture_off
        sender.mute(False)
        await until(lambda: not theirs.sound_off and watcher.loudness > 4000)
        sender.pause(True)
        await until(lambda: theirs.sound_off and theirs.picture_off)
        stands = sender.outgoing.counters.frames
        await asyncio.sleep(0.5)
        assert sender.outgoing.counters.frames <= stands + 2  # what was under way
        shown = watcher.frames
        sender.pause(False)
        await until(lambda: watcher.frames > shown + 3 and watcher.loudness > 4000)
        assert not theirs.picture_off


async def test_another_source_takes_over_in_mid_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with call(Colour(40), tmp_path, monkeypatch) as (sender, _, watcher):
        assert abs(watcher.level - 40) < 12
        await sender.switch(Colour(200, with_sound=False))
        await until(lambda: abs(watcher.level - 200) < 12)
        await until(lambda: watcher.loudness < 200)
        await sender.switch(Colour(120))
        await until(lambda: abs(watcher.level - 120) < 12 and watcher.loudness > 4000)
        assert watcher.times == sorted(watcher.times)  # one time goes through all of it
        with pytest.raises(MediaError):
            await sender.switch(Missing())
        frames = watcher.frames
        await until(lambda: watcher.frames > frames + 3)  # and the one before goes on
        assert abs(watcher.level - 120) < 12


class Missing:
    """A source that is not there."""

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        del size_px, kbps, seconds
        raise MediaError("no camera 7")


async def test_nothing_can_be_switched_before_the_call() -> None:
    peer = Peer(PeerOptions("room", "ws://127.0.0.1:1/ws", source=Colour(9)), lambda *_: None)
    with pytest.raises(CallError, match="nothing is sent yet"):
        await peer.switch(Colour(8))
    for switch in (peer.mute, peer.hide, peer.pause):
        switch(True)


async def test_keys_on_a_terminal_act_and_the_terminal_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    async with call(Colour(90), tmp_path, monkeypatch) as (sender, receiver, _):
        assert receiver.incoming is not None
        counters = receiver.incoming.counters
        with os.fdopen(theirs) as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            with keys.listening(sender, asyncio.get_running_loop()) as listens:
                assert listens
                os.write(ours, b"xm")
                await until(lambda: counters.sound_off)
                os.write(ours, b"Mv")
                await until(lambda: counters.picture_off and not counters.sound_off)
                os.write(ours, b"p")
                await until(lambda: counters.picture_off and counters.sound_off)
                os.write(ours, b"p")
                await until(lambda: not (counters.picture_off or counters.sound_off))
                os.write(ours, b"q")
                await until(sender._stop.is_set)
            assert termios.tcgetattr(terminal.fileno()) == before
            monkeypatch.undo()
    os.close(ours)


async def test_keys_are_left_alone_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer(PeerOptions("room", "ws://127.0.0.1:1/ws", source=Colour(9)), lambda *_: None)
    with os.fdopen(os.open(os.devnull, os.O_RDONLY)) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with keys.listening(peer, asyncio.get_running_loop()) as listens:
            assert not listens


async def test_a_terminal_that_is_gone_costs_nothing_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    peer = Peer(PeerOptions("r", "", MediaOptions(), output=tmp_path / "x.mp4"), lambda *_: None)
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        loop = asyncio.get_running_loop()
        with keys.listening(peer, loop) as listens:
            assert listens
            os.close(ours)
            await asyncio.sleep(0.3)
            assert not loop.remove_reader(terminal)  # nobody listens to it any more
