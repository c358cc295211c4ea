"""`gemino-call --listen` and the sources without an end: two processes that meet at one of them."""

import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemino.call import loopback
from gemino.call.options import LoopbackOptions, MediaOptions, PeerOptions
from gemino.call.sources import PatternSource
from gemino.cli import meeting
from gemino.cli.edge import filled
from gemino.media import read_frames
from test_call import make_clip, wait_until_shown

COMMAND = [sys.executable, "-m", "gemino.cli.call"]
SMALL = ["--size", "256", "--model", "none"]
URL = "ws://192.0.2.7:8765/ws"


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told_command(listener: "subprocess.Popen[str]") -> list[str]:
    """What the listener says that the other side runs, once it waits."""
    assert listener.stderr is not None
    lines = []
    while line := listener.stderr.readline():
        lines.append(line)
        if line.startswith("waiting for the other side in room "):
            (command,) = [one for one in lines if one.startswith("  gemino-call ")]
            return shlex.split(command)[1:]
    raise AssertionError(lines)


def port_of(arguments: list[str]) -> int:
    url = arguments[arguments.index("--server") + 1]
    found = re.fullmatch(r"ws://127\.0\.0\.1:(\d+)/ws", url)
    assert found is not None
    return int(found[1])


def is_open(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_who_runs_the_printed_command_is_in_the_call(tmp_path: Path) -> None:
    listener = start(
        tmp_path, "--listen", "--local", "--port", "0", "--test-pattern", "--seconds", "2", *SMALL
    )
    told = told_command(listener)
    assert re.fullmatch("([a-z2-9]{4}-){2}[a-z2-9]{4}", told[told.index("--peer") + 1])
    other = start(tmp_path, *told, "--model", "none")
    _, said = other.communicate(timeout=100)
    _, listener_said = listener.communicate(timeout=100)
    assert (other.returncode, listener.returncode) == (0, 0), said + listener_said
    assert len(list(read_frames(tmp_path / "received.mp4"))) > 1
    assert said.splitlines()[-1] == "the call has ended; see received.mp4"
    assert listener_said.splitlines()[-1] == "the call has ended"
    assert not is_open(port_of(told))  # the server went with the call


def test_a_source_without_an_end_is_ended_by_ctrl_c_and_by_the_other_peer(tmp_path: Path) -> None:
    stats = tmp_path / "stats.jsonl"
    listener = start(
        tmp_path,
        *("--listen", "den", "--local", "--port", "0", "--test-pattern", "-o", "mine.mp4"),
        *("--stats", str(stats), *SMALL),
    )
    told = told_command(listener)
    assert told[told.index("--peer") + 1] == "den"
    assert "--camera" in told
    told[told.index("--camera")] = "--test-pattern"
    other = start(tmp_path, *told, "--model", "none", "--json")
    wait_until_shown(stats, listener)
    other.send_signal(signal.SIGINT)
    report, said = other.communicate(timeout=60)
    _, listener_said = listener.communicate(timeout=60)
    assert (other.returncode, listener.returncode) == (130, 0), said + listener_said
    assert json.loads(report)["sent"]["frames"] > 0  # the usual end of such a call has a report too
    for name in ("mine.mp4", "received.mp4"):
        assert len(list(read_frames(tmp_path / name))) > 0


def test_ctrl_c_while_waiting_stops_the_server(tmp_path: Path) -> None:
    listener = start(tmp_path, "--listen", "--local", "--port", "0", "--test-pattern", *SMALL)
    port = port_of(told_command(listener))
    assert is_open(port)
    listener.send_signal(signal.SIGINT)
    _, said = listener.communicate(timeout=60)
    assert listener.returncode == 130
    assert "Traceback" not in said
    assert not is_open(port)


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        listener = start(tmp_path, "--listen", "--local", "--port", port, "--test-pattern", *SMALL)
        _, said = listener.communicate(timeout=60)
    assert listener.returncode == 2
    assert said.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert len(said.splitlines()) == 1


def test_who_comes_first_tells_what_the_other_one_runs(tmp_path: Path) -> None:
    """With a server that is there already."""
    first = start(tmp_path, "--listen", "--local", "--port", "0", "--test-pattern", *SMALL)
    url = told_command(first)[3]
    peer = start(tmp_path, "--peer", "other", "--server", url, "--local", "-o", "x.mp4", *SMALL)
    assert peer.stderr is not None
    said = ""
    deadline = time.monotonic() + 60
    while "gemino-call" not in said:
        assert time.monotonic() < deadline
        said += peer.stderr.readline()
    for process in (peer, first):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert "waiting for the other side in room other (Ctrl-C ends)\nwhich runs:" in said
    words = f"gemino-call --peer other --server {url} --local --size 256 --camera"
    assert said.splitlines()[-1].strip() == words


def test_a_loopback_call_can_loop_its_clip(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 10, seconds_of_sound=0.5)
    media = MediaOptions(size_px=256, model=None, seconds=2.0)
    report = loopback.run(LoopbackOptions(clip, media, loop=True))
    assert report.frames_in_clip in (30, 31)  # Matroska rounds to milliseconds
    assert report.frames_shown > 0


def test_an_invitation_says_what_both_sides_must_have_in_common() -> None:
    plain = PeerOptions("room", URL, source=PatternSource())
    assert (
        meeting.invitation(plain, URL) == f"gemino-call --peer room --server {URL} -o received.mp4"
    )
    token = "v1.1.x y"  # noqa: S105 - opens nothing
    special = PeerOptions(
        "room",
        URL,
        MediaOptions(size_px=1024, lr_codec="vp8"),
        token=token,
        output=Path("x.mp4"),
    )
    assert shlex.split(meeting.invitation(special, URL)) == [
        *("gemino-call", "--peer", "room", "--server", URL, "--token", token),
        *("--size", "1024", "--lr-codec", "vp8", "--camera"),
    ]


def test_a_machine_knows_where_it_can_be_found() -> None:
    assert meeting.addresses("192.0.2.7") == ["192.0.2.7"]
    for host in ("0.0.0.0", "::"):  # noqa: S104 - nothing is opened
        found = meeting.addresses(host)
        assert found
        assert len(found) == len(set(found))
        assert all((":" in address) == (host == "::") for address in found)


def test_rooms_have_names_that_nobody_guesses() -> None:
    rooms = {meeting.random_room() for _ in range(100)}
    assert len(rooms) == 100
    assert all(re.fullmatch("([a-z2-9]{4}-){2}[a-z2-9]{4}", room) for room in rooms)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--camera", "--camera 0"),
        ("--camera --loop", "--camera 0 --loop"),
        ("--camera 2 -o x", "--camera 2 -o x"),
        ("-o x --camera", "-o x --camera 0"),
        ("--other --loop", "--other --loop"),
    ],
)
def test_a_value_may_be_left_out(given: str, meant: str) -> None:
    assert " ".join(filled(given.split(), {"--camera": "0"})) == meant
