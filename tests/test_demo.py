import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemino.errors import MediaError
from gemino.evaluation import clips, recording
from gemino.evaluation.clips import Footage
from gemino.evaluation.demonstration import (
    RecordedCall,
    demonstrate,
    side_by_side_size,
    step_for,
)
from gemino.evaluation.recording import Shown
from gemino.frames import Frame, from_video_frame, resize
from gemino.media import MovieWriter, probe, read_audio, read_frames
from gemino.media.joining import join
from gemino.runtime.perceptual import load_lpips
from test_report import CALL

SAMPLES = Path(__file__).parents[1] / "samples"
_FPS = Fraction(25)


@pytest.fixture(scope="module")
def footage() -> Footage:
    """Eight tenths of a second of the address at 256 px."""
    return clips.load(SAMPLES / "address.mp4", 256, 5, max_seconds=0.8, play_s=2)


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory, footage: Footage) -> Path:
    path = tmp_path_factory.mktemp("clip") / "short.mp4"
    return _write(path, [from_video_frame(p) for p in footage.pictures])


def _write(path: Path, frames: list[Frame], sound: bool = False) -> Path:
    rate = 48000 if sound else None
    with MovieWriter(path, frames[0].shape[0], _FPS, audio_rate_hz=rate) as movie:
        for number, frame in enumerate(frames):
            movie.write(frame, number / 25)
            if sound:
                movie.write_audio(np.full(1920, 9000 * (-1) ** number, np.int16))
    return path


def _gemino(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from gemino.cli.main import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def _record(folder: Path, footage: Footage, indices: list[int], neural_from: int) -> RecordedCall:
    """A call that showed these source frames, the late ones as if rebuilt by a network."""
    movie, log = folder / "call.mkv", folder / "call.jsonl"
    originals = [from_video_frame(p) for p in footage.pictures]
    frames = [
        originals[i] if i >= neural_from else resize(resize(originals[i], 64), 256) for i in indices
    ]
    _write(movie, frames)
    rows = [{"source_index": i, "neural": i >= neural_from} for i in indices]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RecordedCall(CALL | {"model": "tiny", "payload_kbps": 50.0}, movie, log)


def test_a_recorded_call_is_measured_against_the_right_frames(
    tmp_path: Path, footage: Footage
) -> None:
    places = list(range(len(footage.pictures)))
    call = _record(tmp_path, footage, [i for i in places if i % 7 != 5], neural_from=6)
    told: list[str] = []
    path = tmp_path / "side_by_side.mp4"
    with MovieWriter(path, side_by_side_size(256), _FPS) as movie:
        made, picture = demonstrate(footage, call, movie, 0.0, load_lpips(), told.append)
    assert list(made.scores) == ["gemino", "bicubic", "vp8", "av1"]
    # The recording holds the originals from frame 6 on, and blurred ones before.
    assert made.scores["gemino"].lpips < 0.02 < made.scores["bicubic"].lpips
    assert made.whole_call_lpips is not None
    assert made.whole_call_lpips > made.scores["gemino"].lpips
    assert made.frames_measured == len([i for i in footage.originals if i >= 6 and i % 7 != 5])
    assert picture.shape == (2 * (256 + 32), 5 * 256, 3)
    assert sum(1 for _ in read_frames(path)) == len(places)
    assert told[-1] == "measuring LPIPS"


def test_a_call_without_a_network_is_measured_over_all_its_frames(
    tmp_path: Path, footage: Footage
) -> None:
    call = _record(tmp_path, footage, list(range(20)), neural_from=1000)
    with MovieWriter(tmp_path / "s.mp4", side_by_side_size(256), _FPS) as movie:
        made, _ = demonstrate(footage, call, movie, 0.0, load_lpips(), lambda _: None)
    assert made.frames_measured == len(footage.originals)
    assert made.scores["gemino"].lpips == made.whole_call_lpips


def test_a_call_that_showed_nothing_measurable_is_an_error(
    tmp_path: Path, footage: Footage
) -> None:
    call = _record(tmp_path, footage, [0], neural_from=0)
    with (
        MovieWriter(tmp_path / "s.mp4", side_by_side_size(256), _FPS) as movie,
        pytest.raises(MediaError, match="shows none of the measured frames"),
    ):
        demonstrate(footage, call, movie, 0.0, load_lpips(), lambda _: None)


@pytest.mark.parametrize(
    "log", ["", '{"source_index": 0}\n', "no json\n", '{"source_index": 0, "neural": true}\n' * 9]
)
def test_a_log_that_does_not_fit_its_recording_is_an_error(
    tmp_path: Path, footage: Footage, log: str
) -> None:
    call = _record(tmp_path, footage, [0, 1, 2], neural_from=0)
    call.log.write_text(log)
    with pytest.raises(MediaError):
        list(recording.read(call.movie, call.log))


def test_a_frame_stands_until_the_next_is_shown() -> None:
    grey = np.zeros((2, 2, 3), np.uint8)

    def shown() -> Iterator[Shown]:
        yield from (Shown(index, True, grey) for index in (1, 2, 5))

    seen = [None if s is None else s.source_index for s in recording.follow(shown(), 7)]
    assert seen == [None, 1, 2, 2, 2, 5, 5]


def test_at_most_two_dozen_frames_are_measured() -> None:
    assert step_for(1) == 1
    for frames in (24, 25, 240, 900):
        assert -(-frames // step_for(frames)) <= 24


def test_movies_are_joined_with_their_sound(tmp_path: Path) -> None:
    grey = [np.full((64, 64, 3), level, np.uint8) for level in range(40, 140, 4)]
    first = _write(tmp_path / "1.mp4", grey, sound=True)
    silent = _write(tmp_path / "2.mp4", grey[:10])
    third = _write(tmp_path / "3.mp4", grey, sound=True)
    joined = tmp_path / "joined.mp4"
    join([first, silent, third], joined)
    frames = list(read_frames(joined))
    assert len(frames) == 60
    assert frames[35].time_s == pytest.approx(1.4, abs=0.08)
    assert sum(block.size for block in read_audio(joined)) == pytest.approx(2.4 * 48000, rel=0.2)
    assert probe(joined).has_audio


def test_joining_what_is_no_movie_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be joined"):
        join([tmp_path / "absent.mp4"], tmp_path / "joined.mp4")


def test_the_demonstration_makes_everything_that_it_promises(
    tmp_path: Path, short_clip: Path
) -> None:
    out = tmp_path / "out"
    made = _gemino(
        *("demo", "--out", str(out), "--size", "256", "--kbps", "20"),
        *("--model", "none", "--clips", str(short_clip)),
    )
    assert made.returncode == 0, made.stderr
    assert "LPIPS" in made.stdout
    assert {p.name for p in out.iterdir()} == {
        *("short", "received.mp4", "side_by_side.mp4", "comparison.png", "report.json"),
        "report.html",
    }
    (clip,) = json.loads((out / "report.json").read_text())["clips"]
    assert clip["clip"] == "short"
    assert clip["size"] == 256
    assert 0 < clip["frames_shown"] <= clip["frames_sent"] <= 20
    assert probe(out / "received.mp4").width == 256
    assert probe(out / "side_by_side.mp4").width == 768
    picture = cv2.imread(str(out / "comparison.png"))
    assert picture is not None
    assert picture.shape == (576, 1280, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "--model", "none", "--clips", "absent.mp4"), "absent.mp4"),
        (("demo", "--model", "absent"), "absent"),
        (("demo", "--size", "500"), "500"),
        (("evaluate", "absent.mp4", "--model", "none"), "absent.mp4"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    out = ("--out", str(tmp_path / "out")) if arguments[0] == "demo" else ()
    made = _gemino(*arguments, *out)
    assert made.returncode == 2
    assert message in made.stderr
    assert "Traceback" not in made.stderr
    assert not (tmp_path / "out").exists()
