"""The command `gemino-call`: help, one clear line for what is wrong, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemino.call.options import LoopbackReport
from gemino.cli.live import _StatsFile, _summary
from x_display import XVFB, virtual_screen

SAMPLE = Path(__file__).parents[1] / "samples" / "webcam.mp4"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gemino.cli.call", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_help_shows_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "gemino-call --loopback samples/webcam.mp4 -o received.mp4" in done.stdout
    assert "Behind a NAT" in done.stdout
    assert "─ Options ─" not in done.stdout  # each option is below the heading of its kind
    assert "bool" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --listen, --peer ROOM and --loopback CLIP"),
        (["--loopback", "no-such-clip.mp4"], "no-such-clip.mp4: no such file"),
        (["--loopback", str(SAMPLE), "-o", "movie.avi"], "name it .mp4"),
        (["--loopback", str(SAMPLE), "-o", "no-such-folder/x.mp4"], "there is no folder"),
        (["--loopback", str(SAMPLE), "--stats", "no-such-folder/x"], "there is no folder"),
        (["--listen", "--input", "no-such-clip.mp4"], "error: no-such-clip.mp4: no such file"),
        (["--loopback", str(SAMPLE), "--kbps", "2"], "kbps must be in 5..1000"),
        (["--loopback", str(SAMPLE), "--size", "300"], "size must be one of 256, 512, 768, 1024"),
        (["--peer", "room", "--input", str(SAMPLE)], "--peer needs --server"),
        (["--listen", "--server", "ws://x/ws", "--test-pattern"], "leave --server and --token out"),
        (["--listen", "--peer", "room"], "give one of --listen, --peer ROOM and --loopback CLIP"),
        (["--listen", "--test-pattern", "--input", str(SAMPLE)], "send one of --camera, --input"),
        (["--listen", "--screen", ":9", "--camera"], "send one of --camera, --input, --screen"),
        (["--loopback", str(SAMPLE), "--test-pattern"], "name no other source"),
        (["--listen", "--loop", "--test-pattern"], "--loop goes with --input CLIP"),
        (["--listen", "--camera", "93"], "there is no camera"),
        (["--loopback", str(SAMPLE), "--token", "x"], "leave --server and --token out"),
        (["--loopback", str(SAMPLE), "--host", "::"], "leave --host out"),
        (["--peer", "a", "--server", "ws://x/ws", "--port", "1"], "leave --host and --port out"),
        (["--listen", "--test-pattern", "--turn-user", "u"], "name one with --ice-server"),
        (["--listen", "--test-pattern", "--fovea", "--lr-codec", "vp8"], "--fovea is for AV1"),
        (["--kbps"], "requires an argument (see "),
        (["--listen", "--kbps", "few"], "Invalid value for '--kbps'"),
        (["--no-such-option"], "No such option: --no-such-option"),
    ],
    ids=[
        *("nothing", "no clip", "kind", "folder", "stats", "no input", "kbps", "size"),
        *("server", "two servers"),
        *("two ways", "two sources", "screen too", "loopback's source", "loop", "camera"),
        *(
            "token",
            "host",
            "port",
            "no server",
            "fovea",
            "no value",
            "no number",
            "no option",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    if arguments:
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="cameras have no names elsewhere")
def said_at_first(more_environment: dict[str, str]) -> str:
    """The first line of a peer for which neither a source nor an output is named."""
    kept = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        [sys.executable, "-m", "gemino.cli.call", "--listen", "--port", "0"],
        env=kept | more_environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        try:
            return process.stderr.readline()
        finally:
            process.kill()
            process.wait()


def test_without_a_display_a_call_is_held_in_a_browser() -> None:
    assert said_at_first({}) == "there is no display for a window here: as with --browser\n"


@pytest.mark.skipif(XVFB is None, reason="needs Xvfb: apt-get install xvfb")
def test_with_a_display_a_call_is_held_in_a_window(tmp_path: Path) -> None:
    with virtual_screen(tmp_path) as screen:
        said = said_at_first({"DISPLAY": screen.name})
    assert said == "nothing to send or show is named: as with --camera --show\n"


def test_cameras_are_listed() -> None:
    done = run("--camera", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith(("/dev/video", "no camera")) for line in done.stdout.splitlines())
    assert done.stdout


def test_a_call_prints_its_report_as_json(tmp_path: Path) -> None:
    output = tmp_path / "received.mp4"
    call = ["--loopback", str(SAMPLE), "--model", "none", "--size", "256", "--seconds", "1"]
    done = run(*call, "-o", str(output), "--json", "-v")
    assert done.returncode == 0, done.stderr
    assert "info: receiver: " in done.stderr
    assert "debug: " not in done.stderr
    report = json.loads(done.stdout)
    assert report.keys() == LoopbackReport.__dataclass_fields__.keys()
    assert report["frames_in_clip"] == 15
    assert output.stat().st_size > 1_000
    summary = _summary(LoopbackReport(**report))
    assert f"{report['frames_shown']} of 15 frames shown" in summary
    assert f"{report['frames_interpolated']} more made between them" in summary
    assert str(output) in summary


def test_a_clip_that_breaks_off_is_played_so_far_and_said(tmp_path: Path) -> None:
    clip = tmp_path / "cut.mp4"
    whole = SAMPLE.read_bytes()
    clip.write_bytes(whole[: len(whole) // 8])
    done = run("--loopback", str(clip), "--model", "none", "--size", "256", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 5 < report["frames_in_clip"] < 60
    assert any("after" in warning and "frames" in warning for warning in report["warnings"])
    assert f"warning: {report['warnings'][0]}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loopback", "{clip}", "-o", "{clip}"], "is the input"),
        (["--loopback", "{clip}", "--stats", "{clip}"], "is the input"),
        (["--listen", "--input", "{clip}", "--record", "{clip}"], "is the input"),
        (["--listen", "--test-pattern", "-o", "{new}", "--record", "{new}"], "is named twice"),
    ],
    ids=["output", "statistics", "recording", "two outputs"],
)
def test_no_clip_and_no_output_is_written_over(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    clip = tmp_path / "mine.mp4"
    clip.write_bytes(SAMPLE.read_bytes())
    done = run(*(part.format(clip=clip, new=tmp_path / "new.mp4") for part in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert clip.read_bytes() == SAMPLE.read_bytes()
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_statistics_that_find_no_room_do_not_end_the_call(caplog: pytest.LogCaptureFixture) -> None:
    with _StatsFile(Path("/dev/full")) as stats:
        for second in range(3):
            stats.write({"second": second})
    assert caplog.text.count("statistics are not written any more, the call goes on: No space") == 1
