"""`gemino encode` and `gemino decode` as a user runs them."""

import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemino import __version__
from gemino.cli.main import main
from gemino.config import LrCodec, ladder
from gemino.container import PictureRecord, ReferenceRecord, read_header, read_records
from gemino.frames import prepare
from gemino.media import MovieWriter, probe, read_frames
from gemino.zoo import ModelFiles
from tiny_model import write_tiny_model

SAMPLES = Path(__file__).parent.parent / "samples"
VP8_FOVEA = ("--model", "none", "--lr-codec", "vp8", "--fovea")
COMMAND = [sys.executable, "-c", "from gemino.cli.main import main; main()"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def gemino(*arguments: object) -> Done:
    """Run the command here: a new process for each would spend most of its time on imports."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["gemino", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())


def figures(*arguments: object) -> dict[str, Any]:
    done = gemino(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def fails_in_one_line(done: Done) -> str:
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    assert done.stdout == ""
    return done.stderr


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a talking head, wide, with a frame rate that varies."""
    path = tmp_path_factory.mktemp("clips") / "wide.mp4"
    with MovieWriter(path, (320, 240), Fraction(25)) as movie:
        for number, timed in zip(range(50), read_frames(SAMPLES / "address.mp4"), strict=False):
            wide = np.zeros((240, 320, 3), np.uint8)
            wide[:, 40:280] = prepare(timed.frame, 240)
            movie.write(wide, timed.time_s + (0.013 if number % 3 else 0.0))
    return path


@pytest.fixture(scope="module")
def encoded(clip: Path, model: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    gem = tmp_path_factory.mktemp("gem") / "clip.gem"
    figures("encode", clip, "-o", gem, "--kbps", 40, "--size", 256, "--model", model.path)
    return gem


@pytest.mark.parametrize(("kbps", "codec"), [(15, "vp8"), (15, "av1"), (60, "av1")])
def test_the_rate_asked_for_is_the_rate_of_the_file(
    tmp_path: Path, kbps: int, codec: LrCodec
) -> None:
    gem = tmp_path / "webcam.gem"
    options = ["--kbps", kbps, "--model", "none"]
    options += ["--lr-codec", "vp8"] if codec == "vp8" else []
    said = figures("encode", SAMPLES / "address.mp4", "-o", gem, *options)
    assert said["payload_kbps"] == pytest.approx(kbps, rel=0.06)
    frames = (126, 12.5) if kbps == 15 else (252, 25.0)  # every second one of a thin stream
    assert (said["frames"], said["fps"], said["output_px"]) == (*frames, 512)
    assert (said["lr_px"], said["lr_codec"]) == (ladder(0.9 * kbps, codec).size_px, codec)
    assert said["container_bytes"] == gem.stat().st_size
    with gem.open("rb") as file:
        header = read_header(file)
        records = list(read_records(file, header.codec))
    assert header.codec == codec
    lr_bytes = sum(len(r.data) for r in records if isinstance(r, PictureRecord))
    reference_bytes = sum(len(r.data) for r in records if isinstance(r, ReferenceRecord))
    assert (said["lr_bytes"], said["reference_bytes"]) == (lr_bytes, reference_bytes)
    spread = lr_bytes * 8 / said["seconds"] / 1000 + reference_bytes * 8 / 60 / 1000
    assert said["payload_kbps"] == pytest.approx(spread, abs=0.002)
    assert names_in(tmp_path) == ["webcam.gem"]


def test_decoding_gives_every_frame_at_its_time(
    clip: Path, encoded: Path, model: ModelFiles, tmp_path: Path
) -> None:
    times = [timed.time_s for timed in read_frames(clip)]
    for name, network in (("out.mkv", model.path), ("out.mp4", "none")):
        said = figures("decode", encoded, "-o", tmp_path / name, "--model", network)
        assert (said["frames"], said["neural_frames"]) == (50, 50 if name == "out.mkv" else 0)
        shown = list(read_frames(tmp_path / name))
        assert [timed.time_s for timed in shown] == pytest.approx(times, abs=0.0011)
        assert shown[0].frame.shape == (256, 256, 3)


def test_decoding_a_thin_file_makes_the_frames_between(clip: Path, tmp_path: Path) -> None:
    gem, movie = tmp_path / "thin.gem", tmp_path / "thin.mkv"
    sent = figures("encode", clip, "-o", gem, "--kbps", 20, "--size", 256, "--model", "none")
    said = figures("decode", gem, "-o", movie)
    assert (sent["frames"], said["interpolated_frames"], said["frames"]) == (25, 24, 49)
    assert (sent["fps"], said["fps"]) == pytest.approx((12.5, 25.0), rel=0.03)
    times = [timed.time_s for timed in read_frames(clip)]
    shown = [timed.time_s for timed in read_frames(movie)]
    assert shown[::2] == pytest.approx(times[::2], abs=0.0011)
    assert shown[1::2] == pytest.approx([(a + b) / 2 for a, b in pairwise(times[::2])], abs=0.0011)


def test_people_are_told_the_figures(clip: Path, tmp_path: Path) -> None:
    done = gemino("encode", clip, "-o", tmp_path / "a.gem", "--size", 256, "--model", "none")
    assert done.returncode == 0
    assert "kbps of 15 asked" in done.stdout
    assert "25 frames" in done.stdout
    assert "over the clip alone" in done.stdout
    done = gemino("decode", tmp_path / "a.gem", "-o", tmp_path / "a.mp4")
    assert "49 frames of 256 px" in done.stdout
    assert "24 of them made between two others" in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [("missing.mp4", "no such file"), ("text.mp4", "cannot be read as video"), ("", "directory")],
)
def test_a_clip_that_is_none_is_one_line(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "text.mp4").write_text("words\n" * 99)
    done = gemino("encode", tmp_path / name, "-o", tmp_path / "a.gem", "--model", "none")
    assert says in fails_in_one_line(done)
    assert names_in(tmp_path) == ["text.mp4"]


def test_a_truncated_clip_is_encoded_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = (SAMPLES / "webcam.mp4").read_bytes()
    (tmp_path / "short.mp4").write_bytes(whole[: len(whole) // 4])
    gem = tmp_path / "short.gem"
    done = gemino("encode", tmp_path / "short.mp4", "-o", gem, "--size", 256, "--model", "none")
    assert done.returncode == 2
    kept = re.fullmatch(r"error: .* holds the (\d+) good frames\n", done.stderr)
    assert kept, done.stderr
    said = figures("decode", gem, "-o", tmp_path / "short.mp4.mkv")
    assert said["frames"] - said["interpolated_frames"] == int(kept[1]) > 10


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    with MovieWriter(tmp_path / "one.mkv", (61, 35), Fraction(30)) as movie:
        movie.write(np.full((35, 61, 3), 200, np.uint8), 0.0)
    options = ["--model", "none", "--lr-codec", "vp8"]
    said = figures("encode", tmp_path / "one.mkv", "-o", tmp_path / "a.gem", *options)
    assert (said["frames"], said["lr_codec"]) == (1, "vp8")
    assert figures("decode", tmp_path / "a.gem", "-o", tmp_path / "a.mp4")["frames"] == 1
    assert (probe(tmp_path / "a.mp4").width, probe(tmp_path / "a.mp4").height) == (512, 512)


def test_a_model_that_is_missing_or_changed_is_one_line(
    clip: Path, encoded: Path, model: ModelFiles, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    done = gemino("encode", clip, "-o", tmp_path / "a.gem", "--model", "no-such")
    assert "no model 'no-such'" in fails_in_one_line(done)
    done = gemino("decode", encoded, "-o", out)  # made for "tiny", which is not installed
    assert "name another with --model" in fails_in_one_line(done)
    changed = tmp_path / "changed"
    shutil.copytree(model.path, changed)
    with (changed / "model.safetensors").open("ab") as file:
        file.write(b"x")
    done = gemino("decode", encoded, "-o", out, "--model", changed)
    assert "is not the file that config.toml describes" in fails_in_one_line(done)
    assert not out.exists()


def test_a_broken_gem_file_is_decoded_as_far_as_it_goes(encoded: Path, tmp_path: Path) -> None:
    whole = encoded.read_bytes()
    short, out = tmp_path / "short.gem", tmp_path / "out.mkv"
    short.write_bytes(whole[: len(whole) * 9 // 10])
    said = fails_in_one_line(gemino("decode", short, "-o", out, "--model", "none"))
    kept = re.search(r"breaks off .* holds the (\d+) frames before", said)
    assert kept, said
    assert len(list(read_frames(out))) == int(kept[1]) > 0
    out.unlink()
    short.write_bytes(whole[:90])
    fails_in_one_line(gemino("decode", short, "-o", out, "--model", "none"))
    assert not out.exists()
    done = gemino("decode", SAMPLES / "webcam.mp4", "-o", out)
    assert "is no .gem file" in fails_in_one_line(done)


def test_outputs_that_cannot_be_are_one_line(clip: Path, encoded: Path, tmp_path: Path) -> None:
    for done, says in [
        (gemino("encode", clip, "-o", tmp_path / "no" / "a.gem", "--model", "none"), "make it"),
        (gemino("encode", clip, "-o", clip, "--model", "none"), "is the input"),
        (gemino("encode", clip, "-o", tmp_path / "a.mp4", "--model", "none"), "name it .gem"),
        (gemino("encode", clip, "-o", tmp_path / "a.gem", *VP8_FOVEA), "--fovea is for AV1"),
        (gemino("decode", encoded, "-o", tmp_path / "a.avi", "--model", "none"), "name it .mp4"),
        (gemino("decode", encoded, "-o", tmp_path / "no" / "a.mp4", "--model", "none"), "make it"),
        (gemino("decode", tmp_path / "no.gem", "-o", tmp_path / "a.mp4"), "no such file"),
        (gemino("encode", clip, "-o", tmp_path, "--model", "none"), "directory"),
    ]:
        assert says in fails_in_one_line(done)
    assert names_in(tmp_path) == []


def test_a_command_that_is_refused_destroys_nothing(encoded: Path, tmp_path: Path) -> None:
    (tmp_path / "old.avi").write_text("dear")
    gemino("decode", encoded, "-o", tmp_path / "old.avi", "--model", "none")
    (tmp_path / "old.gem").write_text("dear")
    gemino("encode", tmp_path / "no.mp4", "-o", tmp_path / "old.gem", "--model", "none")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["dear", "dear"]


def test_a_full_disk_is_one_line(encoded: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    done = gemino("decode", encoded, "-o", tmp_path / "out.mp4", "--model", "none")
    assert "No space left" in fails_in_one_line(done)


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_ctrl_c_ends_quietly_and_leaves_nothing_broken(command: str, tmp_path: Path) -> None:
    source = SAMPLES / "webcam.mp4"
    out = tmp_path / "out.gem"
    if command == "decode":
        figures("encode", source, "-o", out, "--size", 512, "--model", "none")
        source, out = out, tmp_path / "out.mp4"
    arguments = [command, source, "-o", out, "--model", "none"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    # Interrupted in the midst of it: once there is something to lose.
    pattern, enough = ("*.gem", 0) if command == "encode" else ("*.mp4", 20_000)
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size >= enough for p in tmp_path.rglob(pattern)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (said, errors.strip()) == ("", "")
    if command == "encode":
        assert names_in(tmp_path) == []
    else:
        assert len(list(read_frames(out))) > 0


def test_help_has_examples() -> None:
    for command in ("encode", "decode"):
        done = gemino(command, "--help")
        assert done.returncode == 0
        assert f"gemino {command} " in done.stdout
        assert "no sound" in done.stdout


@pytest.mark.parametrize("words", [(), ("gallery",), ("gallery", "forget"), ("encode",)])
def test_help_shows_no_type_where_there_is_no_value(words: tuple[str, ...]) -> None:
    said = gemino(*words, "--help").stdout
    assert "--help" in said
    assert "bool" not in said


def test_the_version_is_told() -> None:
    assert gemino("--version") == Done(0, f"gemino {__version__}\n", "")
