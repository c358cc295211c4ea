"""Takes the pictures of the browser demo in docs/screenshots: every state, on a desk and a phone.

    python tests/browser_screenshots.py

Best on a machine that does nothing else: what is drawn smaller to keep up says so on the page. The
states of a phone stand side by side in one picture.
"""

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from browser import (
    DESK,
    PHONE,
    UNABLE,
    open_browser,
    serving,
    start,
    until,
    visiting,
    webcam,
    write_film,
)

SIZE_PX = 512
FOLDER = Path(__file__).parent.parent / "docs" / "screenshots"
ADDRESS = Path(__file__).parent.parent / "samples" / "address.mp4"
_CALL = [sys.executable, "-c", "from gemino.cli.call import main; main()", "--local"]
_SETTLE_MS = 8_000
_QUALITY = 82


class Album:
    """Keeps a page's states; those of a desk as files, those of a phone for one file."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._kept: list[bytes] = []

    def keep(self, page: Page, name: str) -> None:
        """Take the page as it is; the name of a film is no camera's."""
        page.evaluate(
            "() => { for (const one of document.querySelectorAll('#cameras option'))"
            " if (one.value) one.textContent = 'Camera'; }"
        )
        data = page.screenshot()
        if self._kind == "phone":
            self._kept.append(data)
        else:
            _write(name, _decoded(data))

    def close(self, name: str) -> None:
        """Write what is kept."""
        if self._kept:
            _write(name, np.hstack([_decoded(data) for data in self._kept]))
            self._kept.clear()


def _decoded(data: bytes) -> cv2.typing.MatLike:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def _write(name: str, picture: cv2.typing.MatLike) -> None:
    cv2.imwrite(str(FOLDER / f"browser-{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    print(name)


def tryout(browser: Browser, album: Album, size: tuple[int, int]) -> None:
    """Before the start, live, compared, in colours, and without a server."""
    with serving(size_px=SIZE_PX) as server, visiting(browser, size) as (page, _):
        page.goto(server.url)
        page.wait_for_selector("body[data-camera]")
        page.wait_for_timeout(1_000)
        album.keep(page, "lobby")
        start(page, server.url)
        until(page, "text('badge').startsWith('Neural')")
        page.wait_for_timeout(_SETTLE_MS)
        album.keep(page, "live")
        page.click("#split")
        until(page, "text('plain-label').match(/· [1-9][0-9]* px/)")
        page.wait_for_timeout(3_000)
        album.keep(page, "compare")
        page.click("#split")
        page.click("#origins")
        page.wait_for_selector("#legend:visible")
        page.wait_for_timeout(2_000)
        album.keep(page, "origins")
        server.process.send_signal(signal.SIGKILL)
        page.wait_for_selector("#trouble:visible")
        album.keep(page, "server-gone")
    album.close("phone")


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`gemino-call` with these arguments."""
    command = [*_CALL, "--size", str(SIZE_PX), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def hear(process: "subprocess.Popen[str]", pattern: str) -> str:
    """What it says that matches."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"it never said {pattern}")


def call(browser: Browser, album: Album, size: tuple[int, int]) -> None:
    """Waiting, in the call, compared, in colours, and after its end."""
    listen = ["--listen", "screenshots", "--port", "0", "--browser", "0", "--kbps", "20"]
    with running(*listen) as first, visiting(browser, size) as (page, _):
        page.goto(hear(first, r"open (\S+)"))
        page.wait_for_selector("body[data-camera]")
        page.click("#start")
        page.wait_for_selector("body[data-state=live]")
        page.wait_for_timeout(1_000)
        album.keep(page, "call-waiting")
        server = hear(first, r"listening on (\S+);")
        who = ["--peer", "screenshots", "--server", server, "--input", str(ADDRESS), "--loop"]
        with running(*who, "--model", "none", "--kbps", "20"):
            until(page, "text('badge').startsWith('Neural')")
            page.wait_for_timeout(_SETTLE_MS)
            album.keep(page, "call")
            page.click("#split")
            page.wait_for_selector("#divider")
            page.wait_for_timeout(2_000)
            album.keep(page, "call-compare")
            page.click("#split")
            page.click("#origins")
            page.wait_for_selector("#legend:visible")
            page.wait_for_timeout(2_000)
            album.keep(page, "call-origins")
        page.wait_for_selector("#trouble:visible")
        album.keep(page, "call-ended")
    album.close("call-phone")


def troubles(playwright: Playwright, film: Path) -> None:
    """What keeps a page from calling, in its words, side by side on phones."""
    album = Album("phone")
    with serving(model="none") as server:
        bare = open_browser(playwright, None)
        with visiting(bare, PHONE) as (page, _):
            page.goto(server.url)
            page.wait_for_selector("#trouble:visible")
            album.keep(page, "no-camera")
        bare.close()
        browser = open_browser(playwright, film)
        for lacking in UNABLE:
            with visiting(browser, PHONE) as (page, _):
                page.add_init_script(lacking)
                page.goto(server.url)
                page.wait_for_selector("#trouble:visible")
                album.keep(page, "unable")
        with visiting(browser, PHONE) as (page, _):
            page.goto(f"http://127.0.0.1:{server.port}/#wrong")
            page.wait_for_selector("body[data-camera]")
            page.click("#start")
            page.wait_for_selector("#trouble:visible")
            album.keep(page, "wrong-link")
        browser.close()
    album.close("troubles")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "webcam.y4m"
        write_film(film, webcam(SIZE_PX))
        refusing = open_browser(playwright, film, allows=False)
        with serving(model="none") as server, visiting(refusing, permissions=()) as (page, _):
            page.goto(server.url)
            page.click("#allow")
            page.wait_for_selector("#trouble:visible")
            Album("desk").keep(page, "denied")
        refusing.close()
        troubles(playwright, film)
        browser = open_browser(playwright, film)
        for kind, size in (("desk", DESK), ("phone", PHONE)):
            tryout(browser, Album(kind), size)
            call(browser, Album(kind), size)
        browser.close()


if __name__ == "__main__":
    main()
