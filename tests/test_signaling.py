"""The rendezvous server and its client over real sockets."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from gemino.call.signaling import SignalingClient
from gemino.errors import SignalingError
from signaling import Limits, Refused, SignalingServer, StartError
from signaling.rooms import Rooms

ROOT = Path(__file__).parents[1]


@asynccontextmanager
async def raw(
    server: SignalingServer, **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse[bool]]:
    """A client that may say anything."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url, **options) as client,
    ):
        yield client


async def answer(client: aiohttp.ClientWebSocketResponse[bool]) -> Any:
    async with asyncio.timeout(5):
        return await client.receive_json()


async def close_code(client: aiohttp.ClientWebSocketResponse[bool]) -> int | None:
    async with asyncio.timeout(5):
        while (await client.receive()).type is WSMsgType.TEXT:
            pass
    return client.close_code


# The rooms, without a socket


def test_a_room_holds_two_and_is_forgotten_when_both_have_left() -> None:
    rooms: Rooms[str] = Rooms(Limits())
    assert rooms.join("r", "ann", "a", 0.0) == []
    assert rooms.join("r", "bob", "a", 0.0) == ["ann"]
    with pytest.raises(Refused, match="already holds 2 peers") as refused:
        rooms.join("r", "eve", "a", 0.0)
    assert refused.value.code == "room-full"
    assert rooms.leave("r", "ann") == ["bob"]
    assert rooms.join("r", "eve", "a", 0.0) == ["bob"]
    assert rooms.peers == 2
    rooms.leave("r", "eve")
    rooms.leave("r", "bob")
    assert len(rooms) == 0


def test_rooms_and_joins_are_limited() -> None:
    rooms: Rooms[str] = Rooms(Limits(max_rooms=1, joins_per_minute=3))
    rooms.join("r", "ann", "a", 0.0)
    with pytest.raises(Refused, match="no room left"):
        rooms.join("q", "bob", "a", 1.0)
    rooms.join("r", "bob", "a", 2.0)
    with pytest.raises(Refused, match="wait a minute"):
        rooms.join("r", "eve", "a", 3.0)
    with pytest.raises(Refused, match="already holds"):  # another address is not held back
        rooms.join("r", "eve", "b", 3.0)
    with pytest.raises(Refused, match="already holds"):  # nor is this one, a minute later
        rooms.join("r", "eve", "a", 60.5)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "r\n", None, 5, ["r"], {"r": 1}])
def test_a_bad_room_name_is_refused(name: object) -> None:
    with pytest.raises(Refused, match="a room's name is"):
        Rooms[str](Limits()).join(name, "ann", "a", 0.0)


# The server and the client


async def test_two_peers_meet_talk_and_part() -> None:
    async with SignalingServer() as server, SignalingClient(server.url, "r") as ann:
        assert ann.peers == 0
        async with SignalingClient(server.url, "r") as bob:
            assert bob.peers == 1
            assert await ann.receive() == {"type": "peer-joined"}
            await ann.send({"sdp": "v=0\r\n", "größe": [1, None, 2.5]})
            assert await bob.receive() == {
                "type": "message",
                "data": {"sdp": "v=0\r\n", "größe": [1, None, 2.5]},
            }
            await bob.send({"ok": True})
            assert await ann.receive() == {"type": "message", "data": {"ok": True}}
        assert await ann.receive() == {"type": "peer-left"}
        await ann.send({"anybody": "there?"})  # lost, and no error
        async with SignalingClient(server.url, "r") as bob:
            assert await ann.receive() == {"type": "peer-joined"}


async def test_rooms_do_not_hear_each_other() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "one") as ann,
        SignalingClient(server.url, "two") as bob,
    ):
        assert bob.peers == 0
        await ann.send({"secret": 1})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bob.receive(), 0.2)


async def test_a_third_peer_is_refused_with_a_reason() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "r"),
        SignalingClient(server.url, "r"),
    ):
        with pytest.raises(SignalingError, match=r"refuses: room r already holds 2 peers"):
            await SignalingClient(server.url, "r").connect()


async def test_healthz_counts() -> None:
    async with SignalingServer() as server, aiohttp.ClientSession() as session:
        url = f"http://{server.host}:{server.port}/healthz"
        async with session.get(url) as response:
            assert await response.json() == {"status": "ok", "rooms": 0, "peers": 0}
        async with SignalingClient(server.url, "r"), session.get(url) as response:
            assert await response.json() == {"status": "ok", "rooms": 1, "peers": 1}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "bad-message"),
        ("[1]", "bad-message"),
        ('{"type": "join", "room": NaN}', "bad-message"),
        ("[" * 30_000, "bad-message"),
        ("{}", "join-first"),
        ('{"type": "message", "data": 1}', "join-first"),
        ('{"type": "join"}', "bad-room"),
    ],
)
async def test_what_is_no_join_is_refused(message: str, code: str) -> None:
    async with SignalingServer() as server, raw(server) as client:
        await client.send_str(message)
        assert (await answer(client))["code"] == code
        assert await close_code(client) == 1008


async def test_a_bad_message_after_the_join_ends_it_and_the_other_peer_hears_of_it() -> None:
    async with SignalingServer() as server, SignalingClient(server.url, "r") as ann:
        async with raw(server) as client:
            await client.send_json({"type": "join", "room": "r"})
            assert await answer(client) == {"type": "joined", "peers": 1}
            await client.send_bytes(b"\0")
            assert (await answer(client))["code"] == "bad-message"
        assert [(await ann.receive())["type"] for _ in range(2)] == ["peer-joined", "peer-left"]


async def test_a_large_message_closes_the_connection() -> None:
    async with SignalingServer() as server, raw(server) as client:
        await client.send_json({"type": "join", "room": "r"})
        await answer(client)
        await client.send_str("x" * 70_000)
        assert await close_code(client) == 1009


async def test_silence_before_and_after_the_join_is_limited() -> None:
    limits = Limits(join_timeout_s=0.1, idle_timeout_s=0.3, heartbeat_s=0.1)
    async with SignalingServer(limits=limits) as server:
        async with raw(server) as client:
            assert (await answer(client))["code"] == "idle"
        async with raw(server, heartbeat=0.1) as client:  # answering pings is not talking
            await client.send_json({"type": "join", "room": "r"})
            assert (await answer(client))["type"] == "joined"
            assert (await answer(client))["code"] == "idle"


async def test_a_client_that_answers_no_ping_is_dropped() -> None:
    async with (
        SignalingServer(limits=Limits(heartbeat_s=0.2)) as server,
        SignalingClient(server.url, "r") as ann,
        raw(server, autoping=False) as client,
    ):
        await client.send_json({"type": "join", "room": "r"})
        assert await ann.receive() == {"type": "peer-joined"}
        assert await asyncio.wait_for(ann.receive(), 5) == {"type": "peer-left"}


async def test_a_stopped_server_says_goodbye() -> None:
    server = SignalingServer()
    await server.start()
    ann = SignalingClient(server.url, "r")
    await ann.connect()
    hearing = asyncio.create_task(ann.receive())
    await server.stop()
    with pytest.raises(SignalingError, match=r"closed the connection \(code 1001\)"):
        await hearing
    with pytest.raises(SignalingError, match="is gone"):
        await ann.send({})
    await ann.close()
    await ann.close()
    with pytest.raises(SignalingError, match="not connected"):
        await ann.send({})


async def test_a_port_in_use_is_named() -> None:
    async with SignalingServer() as server:
        with pytest.raises(StartError, match=rf"cannot listen on 127.0.0.1:{server.port}: .*use"):
            await SignalingServer(port=server.port).start()


async def test_a_client_waits_for_a_server_that_starts_late() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = SignalingServer(port=port)
    ann = SignalingClient(server.url, "r")
    connecting = asyncio.create_task(ann.connect())
    await asyncio.sleep(0.25)
    assert not connecting.done()
    async with server:
        await connecting
        await ann.close()


async def test_a_client_gives_up_with_one_clear_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}/ws"
        with pytest.raises(SignalingError, match=f"cannot reach the signaling server at {url}: "):
            await SignalingClient(url, "r", patience_s=0.3).connect()


async def test_a_client_does_not_insist_where_it_cannot_help() -> None:
    with pytest.raises(SignalingError, match="is no address of a signaling server"):
        await SignalingClient("nonsense", "r").connect()
    async with SignalingServer() as server:
        wrong = server.url + "/other"
        with pytest.raises(SignalingError, match="no signaling server: it answers with HTTP 404"):
            await SignalingClient(wrong, "r").connect()


async def test_a_client_refuses_to_send_what_the_server_would_not_take() -> None:
    async with SignalingServer() as server, SignalingClient(server.url, "r") as ann:
        with pytest.raises(SignalingError, match="too large"):
            await ann.send({"data": "x" * 70_000})


async def test_a_client_drops_what_is_no_object() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "r") as ann,
        raw(server) as client,
    ):
        await client.send_json({"type": "join", "room": "r"})
        await client.send_json({"type": "message", "data": [1]})
        await client.send_json({"type": "message", "data": {"good": 1}})
        assert await ann.receive() == {"type": "peer-joined"}
        assert await ann.receive() == {"type": "message", "data": {"good": 1}}


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signaling", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize(("how", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_the_command_runs_until_it_is_told_to_stop(how: int, exit_code: int) -> None:
    process = await start("--port", "0")
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on ws://127.0.0.1:")
    async with SignalingClient(line.split()[-1], "r"):
        process.send_signal(how)
        _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, errors) == (exit_code, b"")


async def test_the_command_names_a_port_in_use_in_one_line() -> None:
    async with SignalingServer() as server:
        process = await start("--port", str(server.port))
        _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 2
    assert errors.decode().startswith(f"error: cannot listen on 127.0.0.1:{server.port}: ")
    assert errors.count(b"\n") == 1
