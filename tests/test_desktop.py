"""A shared screen: grabbed, coded so that its text stays legible, and shown as it is."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aioice.ice
import cv2
import numpy as np
import pytest

from gemino.call import pacing
from gemino.call.desktop import DesktopSource
from gemino.call.desktop_pictures import DesktopPictures
from gemino.call.display import ShownFrame
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.peer import Peer
from gemino.call.sources import ClipSource
from gemino.call.stats import Counters
from gemino.cli import keys
from gemino.config import MAX_SCREEN_PX, LrCodec
from gemino.decoder import Decoder
from gemino.errors import CodecError, MediaError
from gemino.frames import Frame
from gemino.runtime.base import ClassicalSynthesizer
from gemino.video.desktop import DesktopEncoder, fitted
from gemino.video.lr import LrDecoder
from signaling import SignalingServer
from x_display import HEIGHT, WIDTH, XVFB, Screen, virtual_screen

ADDRESS = Path(__file__).parents[1] / "samples" / "address.mp4"
WORDS = "the quick brown fox jumps over 13 lazy dogs; (x + 1) != {y: 0.5}"


def page(width: int = 800, height: int = 600, start: int = 0) -> Frame:
    """Small dark text on white, which begins with another letter for another `start`."""
    sheet = np.full((height, width, 3), 255, np.uint8)
    for line in range(2, height // 18):
        text = (WORDS[(start + line) % len(WORDS) :] + WORDS) * 2
        cv2.putText(sheet, text, (8, 18 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20))
    return sheet


def contrast_kept(shown: Frame, meant: Frame) -> float:
    """How much of the page's text is there: correlation of what is darker than paper."""
    ink = [255.0 - one.mean(axis=2).ravel() for one in (shown, meant)]
    return float(np.corrcoef(ink)[0, 1])


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1080, 1920), (1080, 1920)),
        ((2160, 3840), (1080, 1920)),
        ((767, 1367), (766, 1366)),
        ((800, 800), (798, 800)),
        ((10, 3000), (64, 1920)),
    ],
)
def test_what_is_coded_has_even_sides_and_is_no_square(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    assert fitted(np.zeros((*shape, 3), np.uint8)).shape == (*size, 3)


@pytest.mark.parametrize("codec", ["av1", "vp8"])
def test_text_is_legible_in_every_picture(codec: LrCodec) -> None:
    encoder, decoder = DesktopEncoder(codec), LrDecoder(codec)
    for start, size in ((0, (800, 600)), (7, (800, 600)), (7, (640, 360))):
        meant = fitted(page(*size, start))
        shown = decoder.decode(encoder.encode(meant).data)
        assert shown.shape == meant.shape
        assert contrast_kept(shown, meant) > 0.97
    again = encoder.encode(meant, force_keyframe=True)
    assert again.keyframe


def test_a_receiver_shows_a_screen_whole_and_a_face_again_after_it() -> None:
    decoder = Decoder(ClassicalSynthesizer(256), "av1")
    meant = fitted(page())
    seen = decoder.decode(DesktopEncoder("av1").encode(meant).data)
    assert seen.whole is not None
    assert contrast_kept(seen.whole, meant) > 0.97
    assert seen.frame.shape == (256, 256, 3)
    assert seen.frame[8].max() < 40  # black above
    assert (seen.lr_px, seen.neural, seen.intact) == (800, False, True)


def test_a_picture_that_is_too_large_is_refused() -> None:
    encoder = DesktopEncoder("vp8")
    data = encoder.encode(np.zeros((64, MAX_SCREEN_PX + 2, 3), np.uint8)).data
    with pytest.raises(CodecError, match=r"not in 16\.\.1920 px"):
        LrDecoder("vp8").decode(data)


class Hands:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_falls_to_what_the_rate_pays_for() -> None:
    clock, counters = Hands(), Counters()
    pictures = DesktopPictures("av1", 50.0, counters, clock)
    pages = [fitted(page(400, 300, start)) for start in range(20)]
    for tick in range(100):
        clock.now = tick * 0.2
        pictures.encode(pages[tick // 5], clock.now, False)
    assert counters.lr_bytes * 8 / 1000 / 20 < 1.3 * 50  # the last is yet to be paid for
    assert 3 < counters.frames < 50


def test_a_screen_that_stands_costs_next_to_nothing() -> None:
    clock, counters = Hands(), Counters()
    pictures = DesktopPictures("av1", 500.0, counters, clock)
    sent, still = [], fitted(page(400, 300))
    for tick in range(100):
        clock.now = tick * 0.2
        sent.append(len(pictures.encode(still, clock.now, False)))
    assert sent[0] > 2_000
    assert 10 <= sum(size > 0 for size in sent[10:]) <= 20
    assert max(sent[30:]) < 200
    clock.now += 0.1
    assert len(pictures.encode(still, clock.now, True)) > 2_000


async def test_a_burst_of_packets_is_spread() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    class Transport:
        state = "here"

        async def _send_rtp(self, data: bytes) -> None:
            times.append(loop.time())
            assert len(data) == 1_200

    paced = pacing._Paced(Transport(), lambda: 400.0)
    assert paced.state == "here"
    for _ in range(20):
        await paced._send_rtp(bytes(1_200))
    # 24 kB, of which 6 at once, at 100 kB a second
    assert 0.15 < times[-1] - times[0] < 5
    assert times[4] - times[0] < 0.12


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    """An X server with a page of text on its screen."""
    if XVFB is None or shutil.which("xsetroot") is None:
        pytest.skip("needs Xvfb and xsetroot: apt-get install xvfb x11-xserver-utils")
    with virtual_screen(tmp_path) as shown:
        bitmap = tmp_path / "page.xbm"
        bits = np.packbits(page(WIDTH, HEIGHT).mean(axis=2) < 128, axis=1, bitorder="little")
        numbers = ",\n".join(f"0x{byte:02x}" for byte in bits.ravel())
        bitmap.write_text(
            f"#define page_width {WIDTH}\n#define page_height {HEIGHT}\n"
            f"static char page_bits[] = {{\n{numbers}}};\n"
        )
        subprocess.run(
            ["xsetroot", "-display", shown.name, "-bitmap", bitmap, "-fg", "black", "-bg", "white"],
            check=True,
        )
        yield shown


def test_a_screen_is_grabbed_as_it_is(screen: Screen) -> None:
    feed = DesktopSource(screen.name).open(256, 15.0, None)
    try:
        assert feed.is_desktop
        feed.clock.start()
        grabbed = feed.pictures.get()
        assert grabbed is not None
        # The server's pointer lies in the middle of its own screen.
        assert np.array_equal(grabbed.frame[:200], screen.pixels()[:200])
        assert contrast_kept(grabbed.frame, page(WIDTH, HEIGHT)) > 0.8  # in black and white
        later = feed.pictures.get()
        assert later is not None
        assert later.time_s > grabbed.time_s
    finally:
        feed.close()
    assert feed.pictures.get() is None


def test_without_a_screen_that_is_said() -> None:
    with pytest.raises(MediaError, match="the X server :987 cannot be reached"):
        DesktopSource(":987").open(256, 15.0, None)


def run_call(url: str, screen: Screen, *words: str) -> "subprocess.Popen[bytes]":
    """A child that sends what `words` say, with its DISPLAY on that screen."""
    command = [sys.executable, "-m", "gemino.cli.call", "--peer", "desk", "--server", url]
    command += ["--local", "--size", "256", "--model", "none", *words]
    environment = {**os.environ, "DISPLAY": screen.name}
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


class Watcher:
    """A display that keeps the newest screen."""

    def __init__(self) -> None:
        self.whole: Frame | None = None
        self.faces = 0

    def show(self, shown: ShownFrame) -> None:
        self.whole = shown.whole if shown.whole is not None else self.whole
        self.faces += shown.whole is None

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """Nothing is sent."""

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("codec", ["av1", "vp8"])
async def test_the_text_of_a_screen_crosses_a_call(screen: Screen, codec: LrCodec) -> None:
    watcher = Watcher()
    async with SignalingServer("127.0.0.1", 0) as server:
        words = ("--screen", "--kbps", "400", "--seconds", "40", "--lr-codec", codec)
        child = run_call(server.url, screen, *words)
        media = MediaOptions(size_px=256, model=None, kbps=400.0)
        options = PeerOptions("desk", server.url, media, local=True, displays=(watcher,))
        peer = Peer(options, lambda _peer, _now: None)
        call = asyncio.create_task(peer.run())
        try:
            async with asyncio.timeout(60):
                while watcher.whole is None and not call.done():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
        finally:
            peer.stop()
            await asyncio.gather(call, return_exceptions=True)
            child.terminate()
            await asyncio.to_thread(child.wait)
    assert watcher.whole is not None
    assert watcher.whole.shape == (HEIGHT, WIDTH, 3)
    assert contrast_kept(watcher.whole[:200], screen.pixels()[:200]) > 0.95


async def test_a_screen_takes_the_place_of_a_clip_for_a_while(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    watchers = Watcher(), Watcher()
    async with SignalingServer("127.0.0.1", 0) as server:
        media = MediaOptions(size_px=256, model=None, kbps=400.0)
        source = ClipSource(ADDRESS, loop=True)
        sender = Peer(
            PeerOptions(
                "desk", server.url, media, source=source, local=True, displays=watchers[:1]
            ),
            lambda _peer, _now: None,
        )
        receiver = Peer(
            PeerOptions("desk", server.url, media, local=True, displays=watchers[1:]),
            lambda _peer, _now: None,
        )
        calls = [asyncio.create_task(peer.run()) for peer in (sender, receiver)]
        watcher = watchers[1]

        async def until(reached: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not reached():
                    assert not any(call.done() for call in calls)
                    await asyncio.sleep(0.05)

        try:
            await until(lambda: watcher.faces > 5)
            with pytest.raises(MediaError):
                await sender.share(DesktopSource(":987"))
            monkeypatch.setenv("DISPLAY", screen.name)
            keys.press(sender, "s")
            await until(lambda: watcher.whole is not None)
            assert receiver.incoming is not None
            counters = receiver.incoming.counters
            heard = counters.audio_bytes
            await until(lambda: counters.audio_bytes > heard + 400)
            keys.press(sender, "s")
            outgoing = sender.outgoing
            assert outgoing is not None
            await until(lambda: not outgoing.shares)
            faces = watcher.faces
            await until(lambda: watcher.faces > faces + 5)
            await until(lambda: counters.lr_px < WIDTH)
        finally:
            sender.stop()
            await asyncio.gather(*calls, return_exceptions=True)
