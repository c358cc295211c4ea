"""A real TURN server on 127.0.0.1: coturn, for the time of a `with` block."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SECRET = b"a secret of the TURN server's own"
needs_turnserver = pytest.mark.skipif(
    shutil.which("turnserver") is None, reason="needs coturn's turnserver: apt install coturn"
)


@dataclass(frozen=True)
class TurnServer:
    """log: what it writes; it names every allocation."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"turn:127.0.0.1:{self.port}"

    def relayed(self) -> int:
        """How many relays it has opened."""
        return self.log.read_text().count("ALLOCATE processed, success")


def free_udp_port() -> int:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def turn_server(folder: Path) -> Iterator[TurnServer]:
    """Run coturn with `SECRET`; it relays between addresses of this machine."""
    server = TurnServer(free_udp_port(), folder / "turn.log")
    command = ["turnserver", "--no-cli", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"]
    command += [f"--listening-port={server.port}", "--allow-loopback-peers", "--no-tls"]
    command += ["--no-dtls", "--use-auth-secret", f"--static-auth-secret={SECRET.decode()}"]
    command += ["--realm=test.invalid", "--log-file=stdout", "--verbose", "--fingerprint"]
    command += [f"--pidfile={folder / 'turn.pid'}", f"--userdb={folder / 'turn.db'}", "-n"]
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(10)


def _wait(server: TurnServer, process: "subprocess.Popen[bytes]") -> None:
    """Until it answers over TCP, which it does on the same port."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, server.log.read_text()
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(server.log.read_text())
