"""A call between two network namespaces: needs root and a TUN device."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def why_not() -> str:
    """What a link between two namespaces lacks here, or nothing."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/net/tun").exists() or shutil.which("ip") is None:
        return "needs /dev/net/tun and ip"
    name = f"gemino-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "may not make network namespaces"
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


def test_a_call_over_a_link_with_a_delay_is_measured() -> None:
    if reason := why_not():
        pytest.skip(reason)
    name = f"gm-{os.getpid()}-"
    command = [sys.executable, "scripts/call_over_link.py", "samples/address.mp4"]
    command += [
        "--seconds",
        "4",
        "--size",
        "256",
        "--model",
        "none",
        "--rtt-ms",
        "60",
        "--name",
        name,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    # ICE, DTLS and SCTP cannot do with fewer than three round trips, nor the answer with none.
    assert 4 * 0.06 < figures["connect_s"] < 15
    assert 0.03 <= figures["first_picture_s"] < 15
    assert figures["first_sharp_s"] is None
    least = figures["payload_kbps"] + figures["audio_kbps"]
    assert least < figures["onwire_kbps"] < 100
    assert 0 < figures["onwire_back_kbps"] < figures["onwire_kbps"]
    kinds = figures["onwire_by_kind_kbps"]
    assert kinds.keys() >= {"rtp 103", "rtp 96", "dtls", "stun"}
    assert sum(kinds.values()) == pytest.approx(figures["onwire_kbps"], abs=0.1)
    assert figures["signaling_bytes"] > 2000
    assert not [line for line in namespaces() if line.startswith(name)]


def namespaces() -> list[str]:
    said = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()


def soaked(*options: str) -> "subprocess.CompletedProcess[str]":
    """A long call, of this test's length; its namespaces are gone behind it."""
    name = f"gs-{os.getpid()}-"
    command = [sys.executable, "scripts/soak_over_link.py", "samples/address.mp4", "--name", name]
    command += ["--size", "256", "--model", "none", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not [line for line in namespaces() if line.startswith(name)]
    return done


def test_a_long_call_is_watched_while_it_lasts() -> None:
    if reason := why_not():
        pytest.skip(reason)
    done = soaked("--minutes", "0.15", "--rtt-ms", "20")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    for used in figures["processes"].values():
        assert used["peak_mb"] > 50
        assert 0 < used["cpu_share"] < 2
        assert "mb_a_minute" not in used  # nothing has settled yet
    assert set(figures["sound_ahead_ms"]) == {"first", "last"}
    assert figures["sound_ahead_ms"]["last"]["windows"] > 3
    assert abs(figures["sound_ahead_ms"]["last"]["p50_ms"]) < 300
    assert figures["frames_shown"] > 0.3 * figures["frames_sent"] > 0


def test_a_peer_that_fails_is_named() -> None:
    if reason := why_not():
        pytest.skip(reason)
    done = soaked("--minutes", "0.1", "--kbps", "1e9")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "kbps" in done.stderr.splitlines()[-1]
