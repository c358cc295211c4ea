"""How quick and how steady the browser demo is on this machine: prints JSON.

    python tests/browser_figures.py [SECONDS]

Chromium's camera shows the shipped clip with the number of each picture drawn into it, as a Gray
code of six blocks. The page's self view and its rebuilt picture are read at the same moment, twenty
times a second: their numbers differ by the whole delay from camera to screen.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from browser import open_browser, serving, visiting, webcam, write_film
from gemino.call.stats import percentile
from gemino.frames import Frame
from gemino.server.assets import read_assets

SIZE_PX = 512
BITS = 6
FPS = 30
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


def memory_mb(pid: int) -> int:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "numbered.y4m"
        write_film(film, numbered(webcam(SIZE_PX, 1 << BITS)))
        browser = open_browser(playwright, film)
        with serving(size_px=SIZE_PX) as server, visiting(browser) as (page, errors):
            began = time.monotonic()
            page.goto(server.url)
            page.wait_for_selector("body[data-camera]")
            loaded = time.monotonic()
            page.evaluate("() => document.getElementById('start').click()")
            page.wait_for_selector("body[data-state=live]")
            connected = time.monotonic()
            page.wait_for_function("() => document.getElementById('picture').width > 300")
            shown = time.monotonic()
            page.wait_for_function(
                "() => document.getElementById('badge').textContent.startsWith('Neural')"
            )
            neural = time.monotonic()
            time.sleep(5)
            start_mb = memory_mb(server.process.pid)
            delays = delays_ms(page, seconds)
            figures = {
                "page_kb": round(sum(len(a.body) for a in read_assets().values()) / 1000, 1),
                "load_to_camera_s": round(loaded - began, 2),
                "start_to_connected_s": round(connected - loaded, 2),
                "start_to_first_picture_s": round(shown - loaded, 2),
                "start_to_first_neural_s": round(neural - loaded, 2),
                "delay_median_ms": round(statistics.median(delays)),
                "delay_p95_ms": round(percentile(delays, 0.95) or 0),
                "pictures_a_second": page.inner_text("#n-fps"),
                "machine": page.inner_text("#machine"),
                "memory_mb": [start_mb, memory_mb(server.process.pid)],
                "seconds": seconds,
                "load_average": round(os.getloadavg()[0], 1),
                "console_errors": errors,
            }
        browser.close()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
