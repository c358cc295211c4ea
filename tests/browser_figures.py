"""How quick and how steady the browser demo is on this machine: prints JSON.

    python tests/browser_figures.py [SECONDS] [--memory MINUTES]

Chromium's camera shows the shipped clip with the number of each picture drawn into it, as a Gray
code of six blocks. The page's self view and its rebuilt picture are read at the same moment, twenty
times a second: their numbers differ by the whole delay from camera to screen.

The page is opened three times, and Start pressed as soon as it can be; the first time is that of a
browser and a server that have just begun. With --memory the session then goes on for so many
minutes, and the memory of server and browser is read twice a minute.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

from browser import open_browser, serving, visiting, webcam, write_film
from gemino.call.stats import percentile
from gemino.frames import Frame
from gemino.server.assets import read_assets

SIZE_PX = 512
BITS = 6
FPS = 30
_VISITS = 3
_SAMPLE_S = 30.0
_WATCH = """
window.times = {};
const note = () => {
  const { camera, state } = document.body.dataset;
  if (camera) times.camera ??= performance.now();
  const button = document.getElementById('start');
  if (state === 'lobby' && !button.disabled) button.click();
  if (state === 'live') times.connected ??= performance.now();
};
const watch = { subtree: true, attributes: true };
document.addEventListener('DOMContentLoaded',
  () => new MutationObserver(note).observe(document.body, watch));
"""
"""Presses Start at once, and notes when what has come, in ms from the page's beginning to load."""
_READ = """() => {
  const context = new OffscreenCanvas(64, 8).getContext('2d', {willReadFrequently: true});
  return ['self', 'picture'].map((id) => {
    const from = document.getElementById(id);
    const size = from.videoHeight || from.height;
    context.drawImage(from, 0, 0, size, size / 8, 0, 0, 64, 8);
    const at = (bit) => context.getImageData(8 * (bit + 1) + 4, 4, 1, 1).data[1] > 128;
    let number = 0;
    for (let bit = 0, value = 0; bit < 6; bit += 1) {
      value = value ^ at(bit);
      number = 2 * number + value;
    }
    return number;
  });
}"""


def numbered(pictures: Iterator[Frame]) -> Iterator[Frame]:
    """The pictures with their number in a strip at the top: white or black blocks between black."""
    for number, picture in enumerate(pictures):
        gray = number ^ (number >> 1)
        block = SIZE_PX // 8
        marked = picture.copy()
        marked[:block] = 0
        for bit in range(BITS):
            if gray >> (BITS - 1 - bit) & 1:
                marked[:block, (bit + 1) * block : (bit + 2) * block] = 255
        yield marked


def delays_ms(page: Page, seconds: float) -> list[float]:
    """Camera to screen, sampled; in steps of a picture's time."""
    delays = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sent, shown = page.evaluate(_READ)
        delays.append((sent - shown) % (1 << BITS) * 1000 / FPS)
        time.sleep(0.05)
    return delays


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a process and of those it has started."""
    total = sum(one.memory_info().rss for one in (process, *_below(process)))
    return round(total / 1e6, 1)


def _below(process: psutil.Process) -> list[psutil.Process]:
    return [one for one in process.children(recursive=True) if one.is_running()]


def chromium() -> psutil.Process:
    """The browser that this process has started."""
    names = [(one, one.name()) for one in psutil.Process().children(recursive=True)]
    return next(one for one, name in names if name.startswith("chrom"))


def open_page(page: Page, url: str) -> dict[str, float]:
    """Seconds from the page's beginning to load to what comes after."""
    page.add_init_script(_WATCH)
    page.goto(url)
    page.wait_for_selector("body[data-state=live]")
    page.wait_for_function("() => document.getElementById('picture').width > 300")
    shown = page.evaluate("performance.now()")
    page.wait_for_function(
        "() => document.getElementById('badge').textContent.startsWith('Neural')"
    )
    times = {
        **page.evaluate("times"),
        "picture": shown,
        "neural": page.evaluate("performance.now()"),
    }
    return {name: round(ms / 1000, 2) for name, ms in times.items()}


def memory_over(minutes: float, server: psutil.Process, browser: psutil.Process) -> dict[str, Any]:
    """Both processes' memory over that time, and how fast it grows in its second half."""
    read: dict[str, list[float]] = {"server": [], "browser": []}
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        read["server"].append(memory_mb(server))
        read["browser"].append(memory_mb(browser))
        time.sleep(_SAMPLE_S)
    slopes = {}
    for name, values in read.items():
        late = values[len(values) // 2 :]
        times = [at * _SAMPLE_S / 60 for at in range(len(late))]
        slopes[name] = round(statistics.linear_regression(times, late).slope, 2)
    return {"memory_mb_each_half_minute": read, "memory_growth_mb_a_minute": slopes}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the browser demo on this machine.")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="of reading delays")
    parser.add_argument("--memory", type=float, default=0.0, metavar="MINUTES")
    asked = parser.parse_args()
    figures: dict[str, Any] = {"page_kb": page_kb()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "numbered.y4m"
        write_film(film, numbered(webcam(SIZE_PX, 1 << BITS)))
        browser = open_browser(playwright, film)
        with serving(size_px=SIZE_PX) as server:
            process = psutil.Process(server.process.pid)
            visits = []
            for _ in range(_VISITS - 1):
                with visiting(browser) as (page, _):
                    visits.append(open_page(page, server.url))
            with visiting(browser) as (page, errors):
                visits.append(open_page(page, server.url))
                figures["load_to_s"] = visits
                figures["memory_mb_at_first"] = [memory_mb(process), memory_mb(chromium())]
                delays = delays_ms(page, asked.seconds)
                figures |= {
                    "delay_median_ms": round(statistics.median(delays)),
                    "delay_p95_ms": round(percentile(delays, 0.95) or 0),
                    "pictures_a_second": page.inner_text("#n-fps"),
                    "machine": page.inner_text("#machine"),
                    "seconds": asked.seconds,
                    "load_average": round(os.getloadavg()[0], 1),
                }
                if asked.memory:
                    figures |= memory_over(asked.memory, process, chromium())
                figures["console_errors"] = errors
        browser.close()
    print(json.dumps(figures, indent=1))


def page_kb() -> float:
    """What the page weighs, all its files together."""
    return round(sum(len(asset.body) for asset in read_assets().values()) / 1000, 1)


if __name__ == "__main__":
    main()
