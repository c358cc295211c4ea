"""`gemino doctor`: what it finds, how it ends, and what it promises."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gemino.cli import checks
from gemino.cli.checks import Check, check_load, check_machine, expect, frames_a_second, run_checks
from gemino.cli.main import app
from gemino.errors import CodecError, GeminoError
from gemino.frames import Frame
from gemino.runtime import ClassicalSynthesizer
from tiny_model import write_tiny_model

COMMAND = [sys.executable, "-c", "from gemino.cli.main import main; main()", "doctor"]


def by_name(model: str | None) -> dict[str, Check]:
    return {check.name: check for check in run_checks(model, "auto", 0.05)}


def test_a_machine_that_runs_these_tests_can_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "SIZES_PX", (256, 384))  # smaller ones are opened sooner
    files = write_tiny_model(tmp_path / "tiny")
    found = by_name(str(files.path))
    assert all(check.status != "missing" for check in found.values()), found
    assert found["model"].facts["sha256"] == files.sha256
    for size_px in (256, 384):
        assert found[f"{size_px} px"].facts["fps"] > 0
    assert found["machine"].facts["cores"] >= 1
    assert found["codecs"].facts["lr"] == ["av1", "vp8"]


def test_a_damaged_model_is_missing(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path / "tiny")
    weights = bytearray(files.weights_path.read_bytes())
    weights[-1] ^= 1
    files.weights_path.write_bytes(weights)
    found = by_name(str(files.path))
    assert found["model"].status == "missing"
    assert "is not the file that config.toml describes" in found["model"].says
    assert not any(name.endswith(" px") for name in found)


def test_a_codec_that_fails_is_missing_and_the_rest_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_picture: Frame, _max_bytes: int) -> bytes:
        raise CodecError("no still encoder")

    monkeypatch.setattr(checks, "encode_picture", broken)
    found = by_name(None)
    assert (found["codecs"].status, found["codecs"].says) == ("missing", "no still encoder")
    assert found["udp"].status == "ok"
    assert found["model"].status == "note"


def test_a_taken_port_is_worth_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(checks, "DEFAULT_PORT", taken.getsockname()[1])
        check = checks._checked("tcp", checks._tcp)
    assert check.status == "note"
    assert "--listen wants --port 0" in check.says
    assert checks._checked("tcp", checks._tcp).facts["free"] in (True, False)


def test_without_torch_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _name: None)
    assert check_machine().status == "note"
    assert "torch is not installed" in check_machine().says


def test_a_busy_machine_is_worth_a_note() -> None:
    assert check_load(0.4, 2) is None
    busy = check_load(7.0, 2)
    assert busy is not None
    assert busy.says.startswith("other programs keep 7.0 of 2 cores busy")


def test_pictures_are_drawn_as_many_at_a_time_as_in_a_call() -> None:
    assert frames_a_second(ClassicalSynthesizer(256), 0.1) > 30


def test_ctrl_c_does_not_wait_for_the_end_of_the_time() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began_s = time.monotonic()
    interrupt = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            frames_a_second(ClassicalSynthesizer(256), 100.0)
    finally:
        interrupt.cancel()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began_s < 50


@pytest.mark.parametrize(
    ("speeds", "said"),
    [
        ({}, "show the small picture enlarged"),
        (
            {512: 80.0, 1024: 40.0},
            "In real time here: 1024 px at 30 frames a second (--size 1024).",
        ),
        (
            {512: 80.0, 1024: 20.0},
            "In real time here: 512 px at 30 frames a second (--size 512). At 1024",
        ),
        ({512: 80.0, 1024: 20.0}, "At 1024 px a call keeps up by drawing every second or third"),
        ({512: 80.0, 1024: 5.0}, "At 1024 px a call also draws smaller pictures"),
        (
            {512: 20.0, 1024: 5.0},
            "No size runs in real time here with every picture drawn. At 512 px a call",
        ),
        (
            {512: 9.0, 1024: 2.0},
            "No size runs in real time here. At 512 px and 1024 px a call also draws",
        ),
    ],
)
def test_what_to_expect_is_said_in_words(speeds: dict[int, float], said: str) -> None:
    assert said in expect(speeds)


def test_the_command_tells_people_and_programs() -> None:
    people, programs = (
        CliRunner().invoke(app, ["doctor", "--model", "none", *more]) for more in ([], ["--json"])
    )
    assert (people.exit_code, programs.exit_code) == (0, 0), people.output + programs.output
    told: dict[str, Any] = json.loads(programs.stdout)
    assert told["ready"] is True
    assert told["expect"] == people.stdout.splitlines()[-1]
    names = [check["name"] for check in told["checks"] if check["name"] != "load"]
    assert set(names) <= {line.split()[1] for line in people.stdout.splitlines()[:-2]}


def test_a_missing_model_ends_it_with_exit_code_2() -> None:
    command = [*COMMAND, "--model", "no-such-model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "missing  model    no model 'no-such-model'" in done.stdout
    assert done.stdout.splitlines()[-1] == "A call needs what is missing."
    assert done.stderr == ""


def test_seconds_are_checked() -> None:
    done = CliRunner().invoke(app, ["doctor", "--seconds", "0"])
    assert isinstance(done.exception, GeminoError)
    assert str(done.exception).startswith("--seconds: give more than 0")
