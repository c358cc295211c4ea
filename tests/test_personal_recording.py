"""Filming oneself. OpenCV opens video files as it opens cameras, so a file stands in for one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemino import media
from gemino.call.devices import open_capture
from gemino.cli import personalize
from gemino.cli.main import main
from gemino.errors import MediaError
from gemino.frames import crop_square
from gemino.personal.recording import PROMPTS, RECORDING, record
from training_clips import WEBCAM

FPS = 30


@dataclass
class FilmedFile:
    """A camera that sees what a video shows, and the clock that goes with it."""

    path: Path
    now_s: float = 0.0
    released: bool = False

    def __post_init__(self) -> None:
        self._capture = open_capture(str(self.path), 720)

    def clock(self) -> float:
        return self.now_s

    def grab(self) -> bool:
        self.now_s += 1 / FPS
        return self._capture.grab()

    def retrieve(self) -> tuple[bool, Any]:
        return self._capture.retrieve()

    def release(self) -> None:
        self.released = True
        self._capture.release()


def test_what_the_camera_sees_is_written_as_it_is_with_prompts(tmp_path: Path) -> None:
    camera, told = FilmedFile(WEBCAM), list[tuple[str, float]]()
    record(camera, tmp_path / RECORDING, 1.5, lambda *said: told.append(said), camera.clock)
    assert camera.released
    assert [path.name for path in tmp_path.iterdir()] == [RECORDING]
    filmed = list(media.read_frames(tmp_path / RECORDING))
    assert len(filmed) == pytest.approx(1.5 * FPS, abs=2)
    assert filmed[-1].time_s == pytest.approx(1.5, abs=0.1)
    seen = next(iter(media.read_frames(WEBCAM))).frame
    assert filmed[0].frame.shape == (720, 720, 3)
    assert np.abs(filmed[0].frame.astype(int) - crop_square(seen)).mean() < 3
    assert tuple(dict.fromkeys(prompt for prompt, _ in told)) == PROMPTS
    assert [left_s for _, left_s in told] == sorted((s for _, s in told), reverse=True)


def test_a_camera_that_stops_leaves_nothing(tmp_path: Path) -> None:
    camera = FilmedFile(WEBCAM)
    with pytest.raises(MediaError, match=r"the camera stopped after \d+ s"):
        record(camera, tmp_path / RECORDING, 1000.0, lambda *_: None, camera.clock)
    assert camera.released
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["me.mp4", "--record", "60", "--name", "me"], "name no videos"),
        (["--record", "60", "--many", "."], "and no --many"),
        (["--record", "60"], "--name"),
        (["--record", "60", "--name", "me", "--camera", "/dev/null/none"], "/dev/null/none"),
    ],
)
def test_what_cannot_be_filmed_is_said_in_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gemino", "personalize", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1
    assert said in told[0]
    assert list(tmp_path.iterdir()) == []


def test_what_was_filmed_before_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / RECORDING).write_bytes(b"filmed")
    film = personalize._film
    assert film(60.0, "/dev/null/none", tmp_path, True) == tmp_path / RECORDING
    with pytest.raises(MediaError):
        film(60.0, "/dev/null/none", tmp_path, False)
