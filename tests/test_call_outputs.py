"""A call of two commands with everything that a person sees of it: panel, window, recordings."""

import fcntl
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gemino.media import probe, read_audio, read_frames
from x_display import XVFB, virtual_screen

SAMPLES = Path(__file__).parents[1] / "samples"
SECONDS = 5
LISTEN = ["--listen", "--host", "127.0.0.1", "--port", "0"]
ASKED = ["--local", "--model", "none", "--size", "256", "--kbps", "20", "--seconds", str(SECONDS)]


def command(clip: str, *arguments: str) -> list[str]:
    sent = ["--input", str(SAMPLES / clip)]
    return [sys.executable, "-m", "gemino.cli.call", *arguments, *sent, *ASKED]


def join(room: str, url: str) -> list[str]:
    return ["--peer", room, "--server", url]


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, list[bytes]]]:
    """A terminal of that width: what a process is to have as its own, and what it writes there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                written.append(data)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield theirs, written
    reader.join(10)
    os.close(ours)


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))


@pytest.mark.skipif(XVFB is None, reason="needs Xvfb: apt-get install xvfb")
def test_a_call_with_panel_window_and_recordings(tmp_path: Path) -> None:
    """One side on a terminal records; the other has a window, and a disk that is soon full."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with virtual_screen(tmp_path) as screen, terminal(80) as (theirs, written):
        first = subprocess.Popen(
            command("webcam.mp4", *LISTEN, "--record", str(whole)),
            stderr=theirs,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        )
        os.close(theirs)
        try:
            room, url = invitation(written)
            second = subprocess.run(
                command("address.mp4", *join(room, url), "--show", "--record", str(cut)),
                env={**os.environ, "DISPLAY": screen.name},
                preexec_fn=small_files,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert first.wait(60) == 0
        finally:
            first.kill()
            first.wait()
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("the recording stops, the call goes on: ") == 1
    assert "cut.mp4: cannot be written (File too large)" in second.stderr
    assert "cannot be written" not in b"".join(written).decode()
    check_panel(b"".join(written).decode())
    check_recording(whole)


def invitation(written: list[bytes]) -> tuple[str, str]:
    """The room and the server, as the first side tells its user."""
    for _ in range(600):
        said = re.search(rb"--peer (\S+) --server (\S+)", b"".join(written))
        if said:
            return said[1].decode(), said[2].decode()
        threading.Event().wait(0.1)
    raise AssertionError(f"no invitation in {written!r}")


def check_panel(text: str) -> None:
    lines = [line.rstrip("\r") for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split("\n")]
    panels = [line for line in lines if line.startswith("│")]
    assert len(panels) >= 2 * 7
    assert {len(line) for line in panels} == {80}
    assert any(re.search(r"sent +(av1|vp8) \d+ px +[1-9]", line) for line in panels)
    assert any(re.search(r"received +(av1|vp8) \d+ px +[1-9]", line) for line in panels)
    assert any("256 px by classical" in line for line in panels)
    assert any(re.search(r"there and back \d+ ms", line) for line in panels)
    assert any(re.search(r"reference +sent \d+ s old", line) for line in panels)


def check_recording(path: Path) -> None:
    info = probe(path)
    assert (info.width, info.height, info.has_audio) == (512, 256, True)
    frames = list(read_frames(path))
    assert frames[-1].time_s > 0.6 * SECONDS
    middle = frames[len(frames) // 2].frame.astype(float)
    assert middle[:, :256].std() > 20
    assert middle[:, 256:].std() > 20
    assert np.abs(middle[:, :256] - middle[:, 256:]).mean() > 20
    sound = np.concatenate(list(read_audio(path, 48_000))).astype(float)
    assert len(sound) / 48_000 == pytest.approx(frames[-1].time_s, abs=0.5)
    assert np.abs(sound).mean() > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loopback", "clip.mp4", "--record", "call.mp4"], "-o FILE has what is shown"),
        (["--loopback", "clip.mp4", "--virtual-camera"], "--virtual-camera is for calls of two"),
        (["--loopback", "clip.mp4", "--gallery"], "--gallery is for calls of two"),
        (["--listen", "--test-pattern", "--record", "call.avi"], "is recorded as .mp4"),
        (["--listen", "--test-pattern", "--record", "no/x.mp4"], "there is no folder no"),
    ],
    ids=["record", "virtual camera", "gallery", "kind", "folder"],
)
def test_outputs_that_cannot_be_are_refused_at_once(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gemino.cli.call", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
