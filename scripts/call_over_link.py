"""Hold a call between two network namespaces, over a link with a delay, and measure it.

    sudo .venv/bin/python scripts/call_over_link.py samples/address.mp4 --kbps 15 --rtt-ms 50

Needs root and Linux: two TUN devices, one in each namespace, and this program carries every IP
packet from one to the other, late by half the round trip, and counts it. What it counts is what an
interface sees: IP and UDP headers, RTP, RTCP, DTLS, STUN; signalling is TCP and counted apart.

The receiver waits in the room, the sender comes: that is when the time of `connect_s` begins.
Prints one JSON object. Both peers share this machine's processors.
"""

import argparse
import contextlib
import fcntl
import heapq
import json
import os
import random
import secrets
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PORT = 8765
ADDRESSES = ("10.77.0.1", "10.77.0.2")
_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001
_MTU, _UDP = 1500, 17


@dataclass
class Counted:
    """UDP and other IP packets of one direction: how many, and their bytes with IP headers.

    kinds: the bytes of UDP by what it carries: rtp and its payload type, rtcp, dtls, stun.
    """

    packets: int = 0
    size_bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    other_bytes: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0

    def add(self, packet: bytes, now: float) -> None:
        if packet[9] != _UDP:
            self.other_bytes += len(packet)
            return
        self.started_at = self.started_at or now
        self.ended_at = now
        self.packets += 1
        self.size_bytes += len(packet)
        kind = kind_of(packet)
        self.kinds[kind] = self.kinds.get(kind, 0) + len(packet)

    def kbps(self, size_bytes: int | None = None) -> float:
        """Of all UDP, or of so many bytes of it."""
        seconds = self.ended_at - self.started_at
        size_bytes = self.size_bytes if size_bytes is None else size_bytes
        return round(size_bytes * 8 / 1000 / seconds, 2) if seconds > 0 else 0.0

    def by_kind(self) -> dict[str, float]:
        """kbps of each."""
        return {kind: self.kbps(size_bytes) for kind, size_bytes in sorted(self.kinds.items())}


def kind_of(packet: bytes) -> str:
    """What a UDP packet without IP options carries, by its first two bytes (RFC 7983, RFC 5761)."""
    first, second = packet[28:30] if len(packet) > 29 else (0, 0)
    if first < 4:
        return "stun"
    if first < 64:
        return "dtls"
    return "rtcp" if 192 <= second < 224 else f"rtp {second & 0x7F}"


@dataclass
class Wire:
    """Carries packets between two TUN devices. sent: by the end with that number."""

    ends: tuple[int, int]
    delay_s: float
    loss: float
    sent: tuple[Counted, Counted] = field(default_factory=lambda: (Counted(), Counted()))
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []
        number, dice = 0, random.Random(1)
        while not self.stopped.is_set():
            wait_s = under_way[0][0] - time.monotonic() if under_way else 0.1
            readable, _, _ = select.select(self.ends, [], [], min(max(wait_s, 0.0), 0.1))
            now = time.monotonic()
            for end in readable:
                packet = os.read(end, _MTU + 64)
                here = self.ends.index(end)
                if packet[0] >> 4 != 4:
                    continue  # neighbour discovery of IPv6
                self.sent[here].add(packet, now)
                if packet[9] == _UDP and dice.random() < self.loss:
                    continue
                number += 1
                heapq.heappush(under_way, (now + self.delay_s, number, 1 - here, packet))
            while under_way and under_way[0][0] <= now:
                _, _, there, packet = heapq.heappop(under_way)
                with contextlib.suppress(OSError):  # a namespace that is on its way out
                    os.write(self.ends[there], packet)


def command(*words: str) -> None:
    """Run `ip`; its complaint is ours."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(words)}: {done.stderr.strip()}; are you root?")


def open_tun(name: str) -> int:
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    except OSError as error:
        sys.exit(f"error: no TUN device: {error.strerror}; run this as root, where /dev/net/tun is")
    return device


@contextlib.contextmanager
def wired(name: str, rtt_ms: float, loss: float) -> Iterator[tuple[tuple[str, str], Wire]]:
    """Two namespaces with a wire between them, for a while."""
    spaces = devices = (f"{name}a", f"{name}b")
    ends = (open_tun(devices[0]), open_tun(devices[1]))
    wire = Wire(ends, rtt_ms / 2000, loss)
    delete = ["ip", "netns", "del"]
    thread = threading.Thread(target=wire.run, daemon=True)
    try:
        for number, (space, device) in enumerate(zip(spaces, devices, strict=True)):
            command("ip", "netns", "add", space)
            command("ip", "link", "set", device, "netns", space)
            inside = ("ip", "-n", space)
            command(*inside, "link", "set", "lo", "up")
            mine, theirs = ADDRESSES[number], ADDRESSES[1 - number]
            command(*inside, "addr", "add", mine, "peer", theirs, "dev", device)
            command(*inside, "link", "set", device, "up", "mtu", str(_MTU))
        thread.start()
        yield spaces, wire
    finally:
        wire.stopped.set()
        if thread.is_alive():
            thread.join()
        for end in ends:
            os.close(end)
        for space in spaces:
            subprocess.run([*delete, space], capture_output=True, check=False)


def start(space: str, *words: str) -> "subprocess.Popen[str]":
    """Run Python there; `ip` becomes that process."""
    inside = ["ip", "netns", "exec", space, sys.executable, *words]
    return subprocess.Popen(
        inside,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )


def start_server(space: str) -> "subprocess.Popen[str]":
    """The meeting place of both."""
    return start(space, "-m", "signaling", "--host", "0.0.0.0", "--port", str(PORT))  # noqa: S104


def wait_for_line(process: "subprocess.Popen[str]", stream: Any, start_of_line: str) -> None:
    last = ""
    while line := stream.readline():
        if line.startswith(start_of_line):
            return
        last = line
    said = process.communicate()[1].strip() or last.strip() or "a process ended early"
    sys.exit(f"error: {said.splitlines()[-1].removeprefix('error: ')}")


def hold(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One call; what it measured."""
    with wired(options.name, options.rtt_ms, options.loss) as (spaces, wire):
        server = start_server(spaces[0])
        processes = [server]
        try:
            wait_for_line(server, server.stdout, "listening")
            shared = ["--peer", "room", "--server", f"ws://{ADDRESSES[0]}:{PORT}/ws"]
            shared += ["--size", str(options.size), "--model", options.model]
            shared += ["--kbps", f"{options.kbps:g}", "--seconds", f"{options.seconds:g}"]
            logs = {name: folder / f"{name}.json" for name in ("sender", "receiver")}
            receiver = start(
                spaces[1],
                *("-m", "gemino.cli.call"),
                *(*shared, "-o", str(folder / "received.mp4"), "--report", str(logs["receiver"])),
                *("--frame-log", str(folder / "shown.jsonl")),
            )
            processes.append(receiver)
            wait_for_line(receiver, receiver.stderr, "waiting for the other side")
            sender = start(
                spaces[0],
                *("-m", "gemino.cli.call"),
                *(*shared, "--input", str(options.clip), "--loop"),
                *("--report", str(logs["sender"])),
            )
            processes.append(sender)
            limit_s = options.seconds + 120
            for process in (sender, receiver):
                _, said = process.communicate(timeout=limit_s)
                if process.returncode:
                    sys.exit(f"error: {said.strip().splitlines()[-1]}")
        finally:
            for process in processes:
                if process.poll() is None:
                    process.terminate()
                process.communicate()
    reports = {name: json.loads(path.read_text()) for name, path in logs.items()}
    rows = [json.loads(line) for line in (folder / "shown.jsonl").read_text().splitlines()]
    return figures(options, reports, rows, wire)


def figures(
    options: argparse.Namespace,
    reports: dict[str, Any],
    rows: list[dict[str, float]],
    wire: Wire,
) -> dict[str, Any]:
    connected_at = reports["sender"]["connected_at"]

    def since_connected(wanted: list[dict[str, float]]) -> float | None:
        return round(wanted[0]["shown_s"] - connected_at, 3) if wanted else None

    there, back = wire.sent
    sent, received = reports["sender"]["sent"], reports["receiver"]["received"]
    return {
        "rtt_ms": options.rtt_ms,
        "loss": options.loss,
        "size_px": options.size,
        "kbps": options.kbps,
        "model": received["model"],
        "seconds": sent["seconds"],
        "connect_s": reports["sender"]["connect_s"],
        "first_picture_s": since_connected(rows),
        "first_sharp_s": since_connected([row for row in rows if row["neural"]]),
        "fps_sent": round(sent["frames"] / max(sent["seconds"], 1e-3), 1),
        "fps_shown": round(received["frames"] / max(sent["seconds"], 1e-3), 1),
        "payload_kbps": sent["payload_kbps"],
        "audio_kbps": sent["audio_kbps"],
        "onwire_kbps": there.kbps(),
        "onwire_back_kbps": back.kbps(),
        "onwire_by_kind_kbps": there.by_kind(),
        "packets": there.packets,
        "signaling_bytes": there.other_bytes + back.other_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--rtt-ms", type=float, default=50.0)
    parser.add_argument("--loss", type=float, default=0.0, help="share of UDP packets, 0..1")
    parser.add_argument("--kbps", type=float, default=15.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--model", default="generic-s")
    random_name = f"gemino-{secrets.token_hex(2)}-"
    parser.add_argument("--name", default=random_name, help="of namespaces and devices, 13 letters")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gemino-link-") as name:
        print(json.dumps(hold(options, Path(name))))


if __name__ == "__main__":
    main()
