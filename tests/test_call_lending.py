"""An adapter that is lent in a real call: two processes, the released model, a gallery, consent."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gemino.adapters import FILE, Size, to_bytes
from gemino.call.lending import ADAPTER
from gemino.gallery import Gallery
from gemino.nn.adapter import layers
from gemino.runtime.torch_runtime import load_network
from gemino.zoo import DEFAULT_MODEL, find
from signaling import SignalingServer
from training_clips import WEBCAM

pytestmark = pytest.mark.timeout(300)

_GALLERY = "from gemino.cli.main import main; main()"


def home(tmp_path: Path, name: str) -> dict[str, str]:
    """The environment of a user of that name: what they keep lies in their own home."""
    (tmp_path / name).mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(tmp_path / name)}


def write_adapter(folder: Path, fits: bool = True) -> Path:
    """A small one, for the released model; fits: its layer has the shape that it has there."""
    files = find(DEFAULT_MODEL)
    weight = layers(load_network(files))["generator.residual"].weight
    inputs = weight.shape[1] if fits else weight.shape[1] + 1
    tensors = {
        "generator.residual.up": np.zeros((weight.shape[0], 1), np.float32),
        "generator.residual.down": np.zeros((1, inputs, *weight.shape[2:]), np.float32),
        "generator.residual.shift": np.full(weight.shape[0], 0.02, np.float32),
    }
    folder.mkdir()
    data = to_bytes("ann", DEFAULT_MODEL, files.sha256, tensors, np.eye(2, 128), {Size(256, 128)})
    (folder / FILE).write_bytes(data)
    return folder


def consent(tmp_path: Path, adapter: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _GALLERY, "gallery", "lend", str(adapter), *words],
        env=home(tmp_path, "ann"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def begin(tmp_path: Path, name: str, url: str, *words: str) -> "subprocess.Popen[bytes]":
    """A peer, whose words go to NAME.txt."""
    meet = ["--peer", "room", "--server", url, "--local", "--seconds", "200"]
    command = [sys.executable, "-m", "gemino.cli.call", *meet, "--size", "256", "--kbps", "60"]
    with (tmp_path / f"{name}.txt").open("wb") as told:
        return subprocess.Popen(
            [*command, *words],
            env=home(tmp_path, name),
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
        )


def kept(tmp_path: Path) -> list[bytes]:
    """The adapters in Bob's gallery."""
    gallery = Gallery(tmp_path / "kept", tmp_path / "bob" / ".config" / "gemino" / "gallery.key")
    found = [gallery.get(item.kind, item.sha256) for item in gallery.items()]
    kinds = [item.kind for item in gallery.items()]
    return [data for kind, data in zip(kinds, found, strict=True) if kind == ADAPTER and data]


def told(tmp_path: Path, name: str) -> str:
    return (tmp_path / f"{name}.txt").read_text(errors="replace")


async def call(tmp_path: Path, adapter: Path, until: Callable[[], bool]) -> None:
    """Ann calls Bob, lends her adapter, and hangs up when `until` says so."""
    async with SignalingServer() as server:
        sends = ["--input", str(WEBCAM), "--loop", "--lend", str(adapter)]
        keeps = ["-o", str(tmp_path / "shown.mp4"), "--gallery", str(tmp_path / "kept")]
        ann = begin(tmp_path, "ann", server.url, *sends)
        bob = begin(tmp_path, "bob", server.url, *keeps)
        try:
            async with asyncio.timeout(220):
                while not until():
                    assert (ann.poll(), bob.poll()) == (None, None), told(tmp_path, "bob")
                    await asyncio.sleep(0.5)
            ann.terminate()
            await asyncio.to_thread(bob.wait, 60)
        finally:
            for process in (ann, bob):
                process.kill()
                process.wait()


async def test_an_adapter_is_lent_with_consent_and_kept_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    adapter = write_adapter(tmp_path / "mine")
    data = (adapter / FILE).read_bytes()
    refused = begin(tmp_path, "ann", "ws://127.0.0.1:9", "--test-pattern", "--lend", str(adapter))
    assert refused.wait(120) == 2
    assert "lent to nobody without consent: gemino gallery lend" in told(tmp_path, "ann")
    assert "nobody can be asked here" in consent(tmp_path, adapter).stderr
    assert consent(tmp_path, adapter, "--yes").returncode == 0

    await call(tmp_path, adapter, lambda: (tmp_path / "kept").is_dir() and kept(tmp_path) != [])
    assert kept(tmp_path) == [data]
    assert all(data[:64] not in path.read_bytes() for path in (tmp_path / "kept").iterdir())
    assert consent(tmp_path, adapter, "--never").returncode == 0
    assert consent(tmp_path, adapter).returncode == 2


async def test_an_adapter_that_does_not_fit_the_network_is_dropped_and_the_call_goes_on(
    tmp_path: Path,
) -> None:
    adapter = write_adapter(tmp_path / "forged", fits=False)
    assert consent(tmp_path, adapter, "--yes").returncode == 0
    said = "lends is not used: adapter: generator.residual does not fit this network"
    await call(tmp_path, adapter, lambda: said in told(tmp_path, "bob"))
    assert "Traceback" not in told(tmp_path, "bob")
    assert kept(tmp_path) == []
