"""What a thousand idle rooms cost the signalling server, and how many joins a second it takes.

    python scripts/load_signaling.py
    python scripts/load_signaling.py --rooms 200 --joins 500

Linux only. Starts `python -m signaling` as a child, fills its rooms with two peers each over
loopback, reads its resident memory, sends a message through some of them, and empties them again.
Then peers come, join a room each and say bye, as fast as the server lets them. Prints how many: by
the clock, which this program and whatever else runs here share, and by the server's own CPU time.
The clients speak RFC 6455 by hand, because a client library would cost more than the server.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_AT_ONCE = 64
_PROBED_ROOMS = 20
_SETTLE_S = 1.0
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # any will do: nothing between us and the server caches
_TEXT, _CLOSE = 0x1, 0x8


@dataclass
class Client:
    """A WebSocket that has joined a room."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def join(cls, port: int, room: str) -> "Client":
        """Connect and join `room`; ConnectionError where the server does not let us in."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
            "".encode()
        )
        answer = await client.reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer.split(b"\r\n")[0]:
            raise ConnectionError(answer.decode())
        client.send({"type": "join", "room": room})
        joined = await client.receive()
        if joined.get("type") != "joined":
            raise ConnectionError(json.dumps(joined))
        return client

    def send(self, message: dict[str, object]) -> None:
        """Send a text frame of less than 126 bytes."""
        self._frame(_TEXT, json.dumps(message).encode())

    def _frame(self, opcode: int, payload: bytes) -> None:
        """One frame, masked with zeros: whole and last."""
        self.writer.write(struct.pack("!BB4x", 0x80 | opcode, 0x80 | len(payload)) + payload)

    async def receive(self) -> dict[str, object]:
        """The next text frame, which is short; ConnectionError at the end, which is answered."""
        while True:
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            payload = await self.reader.readexactly(length)
            if first & 0xF == _TEXT:
                message: dict[str, object] = json.loads(payload)
                return message
            if first & 0xF == _CLOSE:
                self._frame(_CLOSE, payload)
                raise ConnectionError("closed by the server")

    async def leave(self) -> None:
        """Say bye and wait until the server has heard it."""
        self.send({"type": "bye"})
        with contextlib.suppress(ConnectionError):
            while True:
                await self.receive()
        self.writer.close()


async def start_server(rooms: int) -> tuple[asyncio.subprocess.Process, int]:
    """The server without limits for one address, and its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signaling", "--port", "0", "--max-rooms", str(rooms)),
        *("--joins-per-minute", "1000000", "--connections-per-address", "1000000"),
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdout is None:
        raise RuntimeError("the server has no output")
    line = (await process.stdout.readline()).decode()
    return process, int(line.rpartition(":")[2].partition("/")[0])


async def fill(port: int, rooms: int) -> list[tuple[Client, Client]]:
    """Two peers in each of `rooms` rooms."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> tuple[Client, Client]:
        async with gate:
            return await Client.join(port, name), await Client.join(port, name)

    return await asyncio.gather(*(one(f"idle-{index}") for index in range(rooms)))


async def probe(pairs: list[tuple[Client, Client]]) -> None:
    """Messages still get through; AssertionError where not."""
    for ann, bob in pairs[:: max(len(pairs) // _PROBED_ROOMS, 1)]:
        bob.send({"type": "message", "data": "hello"})
        assert await ann.receive() == {"type": "peer-joined"}
        assert await ann.receive() == {"type": "message", "data": "hello"}


async def join_and_leave(port: int, joins: int) -> None:
    """`joins` peers, each in a room of its own, `_AT_ONCE` at a time."""
    names = iter(range(joins))

    async def worker() -> None:
        for index in names:
            await (await Client.join(port, f"join-{index}")).leave()

    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))


def cpu_s(pid: int) -> float:
    """CPU time used so far: utime and stime of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory in MB (1e6 bytes), from proc_pid_statm(5)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


async def measure(rooms: int, joins: int) -> None:
    """Run both loads and print the figures."""
    process, port = await start_server(rooms)
    try:
        empty_mb = resident_mb(process.pid)
        pairs = await fill(port, rooms)
        await asyncio.sleep(_SETTLE_S)
        full_mb = resident_mb(process.pid)
        await probe(pairs)
        print(f"{rooms} rooms of two: {full_mb:.0f} MB resident, {empty_mb:.0f} MB before")
        print(f"  {1000 * (full_mb - empty_mb) / max(2 * rooms, 1):.1f} kB a connection")
        await asyncio.gather(*(client.leave() for pair in pairs for client in pair))

        used_s, began = cpu_s(process.pid), time.perf_counter()
        await join_and_leave(port, joins)
        wall_s, used_s = time.perf_counter() - began, cpu_s(process.pid) - used_s
        print(f"{joins} joins and leaves: {joins / wall_s:.0f} a second,")
        print(f"  {joins / used_s:.0f} a second of the server's CPU time")
    finally:
        process.terminate()
        await process.wait()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rooms", type=int, default=1000, help="of two peers each")
    parser.add_argument("--joins", type=int, default=3000, help="and as many leaves")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    asyncio.run(measure(options.rooms, options.joins))


if __name__ == "__main__":
    main()
