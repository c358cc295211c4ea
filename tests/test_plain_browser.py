"""A call between ours and a page in Chromium that knows nothing of Gemino."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioice.ice
import numpy as np
import pytest
from aiohttp import web
from playwright import async_api

from browser import ALLOWING, CHROMIUM, FLAGS, needs_chromium
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.peer import Peer
from gemino.call.sources import ClipSource
from gemino.media import probe, read_audio, read_frames
from signaling import Access, SignalingServer

pytestmark = needs_chromium

PAGE = Path(__file__).parent / "plain_page.html"
ADDRESS = Path(__file__).parents[1] / "samples" / "address.mp4"


@asynccontextmanager
async def served_page() -> AsyncIterator[str]:
    """The page, on a port of its own: browsers give cameras to 127.0.0.1."""

    async def show(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """A browser that gives its fake camera and microphone to whoever asks."""
    async with async_api.async_playwright() as playwright:
        flags = [*FLAGS, ALLOWING]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await reached():  # noqa: ASYNC110 - a page is asked, it does not tell
            await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_a_browser_and_ours_see_and_hear_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    async with (
        chromium() as browser,
        served_page() as address,
        SignalingServer(access=Access(origins=("*",))) as server,
    ):
        for first in ("browser", "ours"):
            page = await browser.new_page()
            await page.goto(address)
            output = tmp_path / f"{first}.mp4"
            await hold(page, server, output, browser_first=first == "browser")
            await page.close()
            check_recording(output)


async def hold(page: Any, server: SignalingServer, output: Path, *, browser_first: bool) -> None:
    """One call, until both have seen and heard enough; the page ends it."""
    media = MediaOptions(size_px=256, model=None, kbps=60.0)
    source = ClipSource(ADDRESS, loop=True)
    options = PeerOptions("room", server.url, media, source=source, output=output, local=True)
    peer = Peer(options, lambda _peer, _now: None)

    async def browser_joins() -> None:
        await page.evaluate("([url, room]) => call(url, room)", [server.url, "room"])

    async def has_seen() -> bool:
        assert not (run is not None and run.done()), run
        shown = peer.incoming.counters.frames if peer.incoming is not None else 0
        got = await page.evaluate("window.got || {frames: 0, loud: 0}")
        return shown > 20 and got["frames"] > 10 and got["loud"] > 0.01

    async def has_joined() -> bool:
        return server._switchboard.gauges()["peers"] == 1

    run: asyncio.Task[None] | None = None
    if browser_first:
        await browser_joins()
        await until(has_joined)
    run = asyncio.create_task(peer.run())
    if not browser_first:
        await until(has_joined)
        await browser_joins()
    await until(has_seen)
    assert await page.evaluate("got.width") == 256
    await page.evaluate("leave()")
    await asyncio.wait_for(run, 30)


def check_recording(output: Path) -> None:
    """The fake camera is mostly green, 16:9; the fake microphone beeps."""
    frame = [timed.frame for timed in read_frames(output)][-1]
    assert frame.shape == (256, 256, 3)
    assert frame[4].max() < 40
    middle = frame[60:196].reshape(-1, 3).mean(0)
    assert middle[1] > middle[0] + 20
    assert probe(output).has_audio
    loudest = max(int(np.abs(block.astype(np.int32)).max()) for block in read_audio(output))
    assert loudest > 1000
