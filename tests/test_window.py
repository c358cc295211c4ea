"""The window: what it shows, read back from a virtual screen, and its keys."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gemino.call.display import ShownFrame
from gemino.call.screen import corner, fit
from gemino.call.window import Window
from gemino.errors import MediaError
from gemino.frames import Frame
from x_display import HEIGHT, WIDTH, XVFB, Screen, virtual_screen

RED, BLUE, GREEN = (210, 30, 20), (20, 40, 220), (20, 200, 60)
needs_x = pytest.mark.skipif(XVFB is None, reason="needs Xvfb: apt-get install xvfb")
needs_keys = pytest.mark.skipif(
    shutil.which("xdotool") is None, reason="needs xdotool to press keys"
)


def plain(colour: tuple[int, int, int], width: int = 256, height: int = 256) -> Frame:
    return np.full((height, width, 3), colour, np.uint8)


def shown(frame: Frame) -> ShownFrame:
    return ShownFrame(frame, 0.0, 0, 0.0, True, 128)


def eventually(what: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    with virtual_screen(tmp_path_factory.mktemp("x")) as screen:
        yield screen


@pytest.fixture
def window(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    monkeypatch.setenv("DISPLAY", screen.name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    window = Window(400)
    yield window
    window.close()


def near(screen: Screen, x: int, y: int, colour: tuple[int, int, int]) -> bool:
    """Whether the screen is of this colour at x, y pixels from the window's upper left corner."""
    left, upper = (WIDTH - 400) // 2, (HEIGHT - 400) // 2
    there = screen.pixels()[upper + y, left + x].astype(int)
    return bool(np.abs(there - colour).max() <= 3)


def test_a_picture_keeps_its_aspect_and_the_self_view_its_corner() -> None:
    assert fit(256, 256, 400, 400) == (0, 0, 400, 400)
    assert fit(640, 360, 400, 400) == (0, 87, 400, 225)
    assert fit(100, 300, 900, 300) == (400, 0, 100, 300)
    assert corner(512, 512, (0, 0, 400, 400)) == (300, 300, 88, 88)
    x, y, width, height = corner(640, 360, (100, 0, 300, 300))
    assert x + width == 388
    assert y + height == 288
    assert width / height == pytest.approx(16 / 9, rel=0.05)


@needs_x
def test_the_picture_fills_the_window_and_ours_is_mirrored_in_its_corner(
    window: Window, screen: Screen
) -> None:
    ours = plain(BLUE)
    ours[:, 128:] = GREEN  # to the right, so shown to the left
    window.show(shown(plain(RED)))
    window.show_self(ours, 0.0)
    assert eventually(lambda: near(screen, 20, 20, RED) and near(screen, 310, 340, GREEN))
    assert near(screen, 380, 340, BLUE)
    assert near(screen, 290, 340, RED)
    assert near(screen, 395, 395, RED)


@needs_x
def test_a_wide_picture_has_bars_above_and_below(window: Window, screen: Screen) -> None:
    window.show(shown(plain(RED, 320, 160)))
    assert eventually(lambda: near(screen, 200, 200, RED))
    assert near(screen, 200, 110, RED)
    assert near(screen, 200, 90, (16, 16, 18))
    assert near(screen, 200, 310, (16, 16, 18))


@needs_x
def test_ours_alone_has_the_window_and_the_newest_picture_wins(
    window: Window, screen: Screen
) -> None:
    window.show_self(plain(BLUE), 0.0)
    assert eventually(lambda: near(screen, 200, 30, BLUE))
    for colour in [GREEN, BLUE] * 100 + [RED]:
        window.show(shown(plain(colour, 512, 512)))  # never waits for what it shows
    assert eventually(lambda: near(screen, 200, 30, RED))


def xdotool(screen: Screen, *arguments: str) -> str:
    command, display = ["xdotool", *arguments], dict(os.environ, DISPLAY=screen.name)
    done = subprocess.run(
        command, env=display, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def is_wide(screen: Screen, handle: str, width: int) -> bool:
    geometry = xdotool(screen, "getwindowgeometry", "--shell", handle)
    return f"WIDTH={width}" in geometry.splitlines()


@needs_x
@needs_keys
def test_keys_reach_the_call_and_the_title_says_what_it_costs(
    window: Window, screen: Screen
) -> None:
    pressed: list[str] = []
    window.on_key = pressed.append
    window.set_title("15 kbps")
    handle = xdotool(screen, "search", "--pid", str(window._process.pid))
    assert eventually(lambda: xdotool(screen, "getwindowname", handle) == "15 kbps")
    for key, heard in (("m", 1), ("x", 1), ("q", 2)):
        xdotool(screen, "windowfocus", "--sync", handle, "key", key)
        assert eventually(partial(lambda number: len(pressed) == number, heard))
    assert pressed == ["mute", "quit"]


@contextlib.contextmanager
def window_manager(screen: Screen) -> Iterator[None]:
    """One that manages: a window that is mapped while it begins may wait for it for ever."""

    def manages() -> bool:
        asked = subprocess.run(
            ["xdotool", "get_num_desktops"],
            env={**os.environ, "DISPLAY": screen.name},
            capture_output=True,
            check=False,
        )
        return asked.returncode == 0

    manager = subprocess.Popen(["openbox"], stderr=subprocess.DEVNULL)
    try:
        assert eventually(manages)
        yield
    finally:
        manager.terminate()
        manager.wait()


@needs_x
@needs_keys
@pytest.mark.skipif(shutil.which("openbox") is None, reason="needs a window manager: openbox")
def test_f_fills_the_screen_until_escape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with virtual_screen(tmp_path) as screen:
        monkeypatch.setenv("DISPLAY", screen.name)
        with window_manager(screen):
            window = Window(300)
            try:
                handle = xdotool(screen, "search", "--pid", str(window._process.pid))
                for key, width in (("f", WIDTH), ("Escape", 300), ("f", WIDTH), ("f", 300)):
                    xdotool(screen, "windowfocus", "--sync", handle, "key", key)
                    assert eventually(partial(is_wide, screen, handle, width))
            finally:
                window.close()


@needs_x
def test_a_window_that_dies_holds_nothing_up(
    window: Window, caplog: pytest.LogCaptureFixture
) -> None:
    os.kill(window._process.pid, signal.SIGKILL)
    assert eventually(lambda: "the call goes on without it" in caplog.text)
    for _ in range(50):
        window.show(shown(plain(RED, 512, 512)))
        window.show_self(plain(RED), 0.0)
    window.close()


def test_without_a_display_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MediaError, match=r"no window can be opened \(.+\); -o FILE"):
        Window(400)


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sdl2.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MediaError, match=r"pip install 'gemino\[window\]'"):
        Window(400)
