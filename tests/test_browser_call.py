"""Two people in two browsers: camera and microphone in, the other one's picture and sound out."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from browser import (
    PATIENCE_MS,
    SENSES,
    SIZE_PX,
    check_barriers,
    fingerprint,
    headers_are_counted,
    needs_chromium,
    number,
    open_browser,
    pictures_flow,
    save,
    until,
    visiting,
    wait_for_number,
    webcam,
    write_film,
)

pytestmark = [needs_chromium, pytest.mark.timeout(240)]


ADDRESS = Path(__file__).parent.parent / "samples" / "address.mp4"
NO_MICROPHONE = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (asked) => asked.audio
  ? Promise.reject(new DOMException('no microphone', 'NotFoundError')) : open(asked);
"""
COMMAND = [sys.executable, "-c", "from gemino.cli.call import main; main()"]


class Caller:
    """`gemino-call --browser` in a process of its own. link: of its page."""

    def __init__(self, *arguments: str, model: str, page_port: int) -> None:
        options = ["--browser", str(page_port), "--local", "--size", str(SIZE_PX), "--model", model]
        self.process = subprocess.Popen(
            [*COMMAND, *arguments, *options], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        said = re.match(r"open (\S+) ", self.process.stderr.readline())
        assert said
        self.link = said[1]
        self.said: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.said.append(line)
                self._changed.notify_all()

    def hear(self, pattern: str) -> str:
        """Wait until it says something that matches; its first group."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: re.search(pattern, "".join(self.said)), PATIENCE_MS / 1000
            )
        assert found, "".join(self.said)
        return str(found[1])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def calling(*arguments: str, model: str = "none", page_port: int = 0) -> Iterator[Caller]:
    caller = Caller(*arguments, model=model, page_port=page_port)
    try:
        yield caller
    finally:
        caller.close()


def begin(page: Page, link: str) -> None:
    page.goto(link)
    page.wait_for_selector("body[data-camera]")
    page.click("#start")
    page.wait_for_selector("body[data-state=live]")


def check_figures(page: Page) -> None:
    """All that a call shows: rates, delay, loss, the age of the sharp picture, the small stream."""
    until(page, "text('badge').startsWith('Neural')")
    headers_are_counted(page)
    wait_for_number(page, "n-delay", "n > 0")
    assert number(page, "n-loss") == 0
    wait_for_number(page, "n-age", "n >= 0")
    thumbnail, shown = (np.array(fingerprint(page, one)) for one in ("thumbnail", "picture"))
    assert np.abs(thumbnail - shown).mean() < 30
    assert "AV1, 128" in page.inner_text("#lr")
    until(page, "text('rate-note').match(/Now [1-9]/)")


def check_comparison(page: Page) -> None:
    """The other side's small stream as it is without the network, and with it."""
    page.click("#split")
    page.wait_for_selector("#divider")
    until(page, "text('plain-label').match(/Enlarged · 128 px · [1-9]/)")
    save(page, "call-split")
    check_barriers(page)
    page.click("#split")
    page.wait_for_selector("#divider", state="hidden")


def check_origins(page: Page, other: Page) -> None:
    """In colours where a network draws, in words where none does."""
    page.click("#origins")
    page.wait_for_selector("#legend:visible")
    until(page, "text('n-carried') !== '0 %' && text('n-drawn') !== '0 %'")
    pictures_flow(page)
    save(page, "call-origins")
    page.click("#origins")
    page.wait_for_selector("#legend", state="hidden")
    other.click("#origins")
    until(other, "text('rate-note').includes('No network draws')")
    other.click("#origins")


def check_rate(page: Page, other: Page) -> None:
    """The slider of one page sets what the other one gets."""
    other.focus("#rate")
    other.keyboard.press("End")
    until(page, "text('lr').includes('256')")
    wait_for_number(page, "n-payload", "n > 45")
    other.keyboard.press("Home")
    until(page, "!text('lr').includes('256')")
    wait_for_number(page, "n-payload", "n < 30")
    pictures_flow(page)


def test_two_browsers_hold_a_call(tmp_path: Path) -> None:
    # Two cameras that cannot be taken for each other: the second one's film is upside down.
    films = tmp_path / "up.y4m", tmp_path / "down.y4m"
    write_film(films[0], webcam(SIZE_PX, 45))
    write_film(films[1], (picture[::-1] for picture in webcam(SIZE_PX, 45)))
    with sync_playwright() as playwright:
        up, down = (open_browser(playwright, film) for film in films)
        with (
            calling("--listen", "two-browsers", "--port", "0", model="generic-xs") as first,
            visiting(up) as (page, errors),
            visiting(down) as (other, other_errors),
        ):
            begin(page, first.link)
            assert "Waiting for the other side" in page.inner_text("#waiting")
            save(page, "call-waiting")
            assert page.inner_text("#rate-value") == "15 kbps"  # as the call was started
            server = first.hear(r"listening on (\S+);")
            with calling("--peer", "two-browsers", "--server", server) as second:
                begin(other, second.link)
                for one in (page, other):
                    until(one, "text('status') === 'In the call'")
                    pictures_flow(one)
                    until(one, "+text('n-wire') > 0")
                shown, shown_there = (np.array(fingerprint(one)) for one in (page, other))
                sent, sent_there = (np.array(fingerprint(one, "self")) for one in (page, other))
                assert np.abs(shown - sent_there).mean() < 30 < np.abs(shown - sent).mean()
                assert np.abs(shown_there - sent).mean() < 30
                check_figures(page)
                check_comparison(page)
                check_origins(page, other)
                check_rate(page, other)
                page.evaluate(SENSES)
                until(page, "window.loudness() > 0.01")
                other.click("#mute")
                until(page, "window.silence()")
                # A page that is loaded anew finds its call again.
                other.reload()
                begin(other, second.link)
                pictures_flow(other)
                second.process.send_signal(signal.SIGINT)
                other.wait_for_selector("#trouble:visible")
                assert "stopped" in other.inner_text("#trouble")
                assert second.process.wait(PATIENCE_MS / 1000) == 130, "".join(second.said)
            # The other side has gone, and so ends the call.
            page.wait_for_selector("#trouble:visible")
            assert first.process.wait(PATIENCE_MS / 1000) == 0
            assert errors == other_errors == []
        up.close()
        down.close()


@contextlib.contextmanager
def speaking(server: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Somebody who speaks, without a page."""
    options = ["--local", "--size", str(SIZE_PX), "--model", "none", "--input", str(ADDRESS)]
    peer = ["--peer", "killed", "--server", server, "--loop"]
    process = subprocess.Popen([*COMMAND, *peer, *options], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def certificate(folder: Path) -> list[str]:
    """The options for a certificate that nobody has signed."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return ["--page-cert", str(cert), "--page-key", str(key)]


def test_a_killed_peer_is_noticed_and_a_new_one_joined_by_https_without_a_microphone(
    tmp_path: Path,
) -> None:
    write_film(tmp_path / "film.y4m", webcam(SIZE_PX, 45))
    listen = ["--listen", "killed", "--port", "0", *certificate(tmp_path)]
    listen += ["--page-token", "0123456789abcdefgh"]
    with sync_playwright() as playwright:
        browser = open_browser(playwright, tmp_path / "film.y4m")
        with visiting(browser) as (page, errors):
            page.add_init_script(NO_MICROPHONE)
            with calling(*listen) as first:
                assert first.link.startswith("https://127.0.0.1:")
                begin(page, first.link)
                with speaking(first.hear(r"listening on (\S+);")) as other:
                    until(page, "text('status') === 'In the call'")
                    pictures_flow(page)
                    page.evaluate(SENSES)
                    until(page, "window.loudness() > 0.01")
                    other.kill()
                    page.wait_for_selector("#trouble:visible")
                    assert "the other peer is gone" in page.inner_text("#trouble")
                assert first.process.wait(PATIENCE_MS / 1000) == 2
            port = int(first.link.split("#")[0].rstrip("/").rsplit(":", 1)[1])
            save(page, "call-ended")
            with calling(*listen, page_port=port) as again:
                assert again.link == first.link
                page.click("#again")
                page.wait_for_selector("body[data-state=live]")
                with speaking(again.hear(r"listening on (\S+);")):
                    until(page, "text('status') === 'In the call'")
                    pictures_flow(page)
                again.process.kill()
                page.wait_for_selector("#trouble:visible")
                assert "does not answer" in page.inner_text("#trouble")
            assert not [error for error in errors if "ERR_CONNECTION_REFUSED" not in error]
        browser.close()
