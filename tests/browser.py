"""What tests in a real browser share: a camera film, a server in a process of its own, a page."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright

from gemino.frames import Frame, prepare, to_video_frame
from gemino.media import read_frames

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = Path(__file__).parent.parent / "out" / "screenshots"
WEBCAM = Path(__file__).parent.parent / "samples" / "webcam.mp4"
TOKEN = "0123456789abcdefgh"  # noqa: S105 - opens nothing
PATIENCE_MS = 45_000
SIZE_PX = 256
DESK, PHONE = (1280, 800), (390, 844)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing: apt-get install chromium"
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
)

ALLOWING = "--use-fake-ui-for-media-stream"
"""Says yes where a page asks for camera and microphone."""


def write_film(path: Path, pictures: Iterator[Frame]) -> None:
    """A y4m film of square pictures, which Chromium plays as a camera, again and again."""
    with path.open("wb") as film:
        for picture in pictures:
            side = picture.shape[0]
            if not film.tell():
                film.write(b"YUV4MPEG2 W%d H%d F30:1 Ip A1:1 C420mpeg2\n" % (side, side))
            film.write(b"FRAME\n" + to_video_frame(picture).to_ndarray().tobytes())


def webcam(size_px: int, pictures: int = 75) -> Iterator[Frame]:
    """The shipped clip's first pictures."""
    for _, timed in zip(range(pictures), read_frames(WEBCAM), strict=False):
        yield prepare(timed.frame, size_px)


UNABLE = (
    "Object.defineProperty(window, 'isSecureContext', {value: false})",
    "delete window.RTCPeerConnection",
)
"""What makes a page one that is not safe, and a browser one without WebRTC."""


def open_browser(playwright: Playwright, film: Path | None, *, allows: bool = True) -> Browser:
    """Chromium with `film` for a camera, and a microphone that beeps; None: without a camera.

    allows: what its person says when a page asks for them.
    """
    says = ALLOWING if allows else "--deny-permission-prompts"
    flags = [flag for flag in FLAGS if film is not None or "fake-device" not in flag]
    films = [] if film is None else [f"--use-file-for-fake-video-capture={film}"]
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*flags, says, *films])


@dataclass
class Server:
    """`gemino serve` in a process of its own."""

    process: "subprocess.Popen[str]"
    port: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/#{TOKEN}"


@contextmanager
def serving(port: int = 0, size_px: int = SIZE_PX, model: str = "generic-s") -> Iterator[Server]:
    """A server that is ready for pages; killed at the end if it is still there."""
    command = [sys.executable, "-c", "from gemino.cli.main import main; main()", "serve"]
    options = ["--port", str(port), "--size", str(size_px), "--model", model, "--token", TOKEN]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    server = Server(process)
    try:
        line = process.stdout.readline()
        said = re.search(r"open http://127\.0\.0\.1:(\d+)/#(\S+)", line)
        assert said, process.stderr.read()
        server.port = int(said[1])
        reader = threading.Thread(target=server.said.extend, args=(process.stderr,), daemon=True)
        reader.start()
        yield server
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        reader.join()
        process.stderr.close()


@contextmanager
def visiting(
    browser: Browser,
    size: tuple[int, int] = DESK,
    permissions: tuple[str, ...] = ("camera", "microphone"),
    scheme: Any = "dark",
) -> Iterator[tuple[Page, list[str]]]:
    """A fresh page, and what goes wrong on it: errors on the console or thrown."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        permissions=list(permissions),
        color_scheme=scheme,
        accept_downloads=True,
        ignore_https_errors=True,  # a certificate made for a test is signed by nobody
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    try:
        yield page, errors
    finally:
        context.close()


def start(page: Page, url: str) -> None:
    """Open the page and begin; returns when a picture is there that the network drew."""
    page.goto(url)
    page.wait_for_selector("body[data-camera]")
    page.click("#start")
    page.wait_for_selector("body[data-state=live]")
    pictures_flow(page)


def pictures_flow(page: Page) -> None:
    """Wait until the canvas changes: real pixels, not events."""
    seen = fingerprint(page)
    page.wait_for_function(
        f"before => ({_PIXELS})('picture').some((one, at) => Math.abs(one - before[at]) > 6)",
        arg=seen,
    )


def save(page: Page, name: str) -> None:
    """A screenshot, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def check_barriers(page: Page) -> None:
    """No serious violation of the accessibility rules that axe-core knows."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(serious, indent=1)


_PIXELS = """(id) => {
  const from = document.getElementById(id);
  const small = new OffscreenCanvas(16, 16).getContext('2d', {willReadFrequently: true});
  small.drawImage(from, 0, 0, 16, 16);
  return Array.from(small.getImageData(0, 0, 16, 16).data).filter((_, at) => at % 4 < 3);
}"""


def fingerprint(page: Page, element: str = "picture") -> list[int]:
    """16 x 16 pixels of a canvas or video, RGB: its colours, whatever its size."""
    pixels: list[int] = page.evaluate(f"id => ({_PIXELS})(id)", element)
    return pixels


def number(page: Page, element: str) -> float:
    """A figure that the page shows."""
    return float(page.inner_text(f"#{element}"))


def wait_for_number(page: Page, element: str, condition: str) -> None:
    """Wait until a figure fulfils `condition`, JavaScript about `n`."""
    until(page, f"((n) => {condition})(+text('{element}'))")


def headers_are_counted(page: Page) -> None:
    """Wait until more crosses the network than the pictures' bytes.

    Not so in a stream's first moments: a reference counts for a minute, the wire for a second.
    """
    until(page, "+text('n-payload') > 0 && +text('n-wire') > +text('n-payload')")


def until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript, which knows `text(id)`.

    A function, because the page's policy allows no expression to be evaluated.
    """
    page.wait_for_function(
        "() => { const text = (id) => document.getElementById(id).textContent;"
        f" return {condition}; }}"
    )


SENSES = """() => {
  const context = new AudioContext(), heard = new AnalyserNode(context);
  const sound = document.getElementById('remote').srcObject.getAudioTracks();
  context.createMediaStreamSource(new MediaStream(sound)).connect(heard);
  const samples = new Float32Array(heard.fftSize);
  window.loudness = () => {
    heard.getFloatTimeDomainData(samples);
    return Math.max(...samples.map(Math.abs));
  };
  window.silence = async () => {  // the microphone beeps once a second
    for (let at = 0; at < 75; at += 1) {
      if (window.loudness() > 0.005) return false;
      await new Promise((done) => setTimeout(done, 20));
    }
    return true;
  };
  window.brightness = () => {
    const shown = document.getElementById('picture');
    const small = new OffscreenCanvas(8, 8).getContext('2d');
    small.drawImage(shown, 0, 0, 8, 8);
    const colours = small.getImageData(0, 0, 8, 8).data.filter((_, at) => at % 4 < 3);
    return colours.reduce((sum, one) => sum + one) / colours.length;
  };
}"""
"""`loudness()`, `silence()` and `brightness()` of what a page plays and shows."""
