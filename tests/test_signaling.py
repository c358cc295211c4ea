"""The client of the rendezvous server, over real sockets and through lost connections."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gemino.call import signaling as client_module
from gemino.call.signaling import SignalingClient
from gemino.errors import SignalingError, SignalingRefused, SignalingUnreachable
from raw_signaling import answer, cut, join, raw
from signaling import Access, Limits, SignalingServer, tokens

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 2_000_000_000.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def event(client: SignalingClient) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return await client.receive()


def lose(client: SignalingClient) -> None:
    """Break the client's connection under it."""
    assert client._socket is not None
    cut(client._socket)


async def test_two_peers_meet_talk_and_part() -> None:
    async with SignalingServer() as server, SignalingClient(server.url, "r") as ann:
        assert ann.peers == 0
        async with SignalingClient(server.url, "r") as bob:
            assert bob.peers == 1
            assert await event(ann) == {"type": "peer-joined"}
            await ann.send({"sdp": "v=0\r\n", "größe": [1, None, 2.5]})
            assert await event(bob) == {
                "type": "message",
                "data": {"sdp": "v=0\r\n", "größe": [1, None, 2.5]},
            }
            await bob.send({"candidate": {"candidate": "candidate:1 1 udp 1 ::1 9 typ host"}})
            assert (await event(ann))["data"]["candidate"]["candidate"].endswith("typ host")
        assert await event(ann) == {"type": "bye"}
        assert await event(ann) == {"type": "peer-left"}
        await ann.send({"anybody": "there?"})  # lost, and no error
        async with SignalingClient(server.url, "r") as bob:
            assert await event(ann) == {"type": "peer-joined"}


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


async def test_refusals_are_typed_and_say_why() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "r"),
        SignalingClient(server.url, "r"),
    ):
        with pytest.raises(SignalingRefused, match=r"refuses: room r already holds 2 peers") as no:
            await SignalingClient(server.url, "r").connect()
        assert no.value.code == "room-full"
        with pytest.raises(SignalingRefused, match="nobody is in room q: is the name right") as no:
            await SignalingClient(server.url, "q", create=False).connect()
        assert no.value.code == "unknown-room"


async def test_a_token_is_shown_once_and_a_lost_connection_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signaling.switchboard.time.time", lambda: NOW)
    token = tokens.mint(SECRET, "r", NOW, 10)
    async with SignalingServer(access=Access(secret=SECRET)) as server:
        with pytest.raises(SignalingRefused, match="asks for a room token"):
            await SignalingClient(server.url, "r").connect()
        with pytest.raises(SignalingRefused, match="does not open this room"):
            await SignalingClient(server.url, "other", token=token).connect()
        async with SignalingClient(server.url, "r", token=token) as ann:
            monkeypatch.setattr("signaling.switchboard.time.time", lambda: NOW + 10)
            with pytest.raises(SignalingRefused, match="token has expired") as refused:
                await SignalingClient(server.url, "r", token=token).connect()
            assert refused.value.code == "expired-token"
            lose(ann)
            assert await event(ann) == {"type": "rejoined", "kept": True}


async def test_a_lost_connection_is_made_again_and_loses_no_message() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "r") as ann,
        SignalingClient(server.url, "r") as bob,
    ):
        assert (await event(ann))["type"] == "peer-joined"
        lose(bob)
        assert await event(ann) == {"type": "peer-lost"}
        await ann.send({"n": 1})
        await ann.send({"n": 2})
        assert await event(bob) == {"type": "rejoined", "kept": True}
        assert [(await event(bob))["data"] for _ in range(2)] == [{"n": 1}, {"n": 2}]
        assert await event(ann) == {"type": "peer-rejoined"}


async def test_whoever_sends_notices_a_loss_as_well() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "r") as ann,
        SignalingClient(server.url, "r") as bob,
    ):
        assert (await event(ann))["type"] == "peer-joined"
        lose(bob)
        assert await event(ann) == {"type": "peer-lost"}
        await asyncio.gather(bob.send({"n": 1}), bob.send({"n": 2}))  # one of them reconnects
        assert await event(ann) == {"type": "peer-rejoined"}
        assert [(await event(ann))["data"]["n"] for _ in range(2)] == [1, 2]
        assert await event(bob) == {"type": "rejoined", "kept": True}


async def test_a_server_that_starts_anew_is_joined_afresh() -> None:
    port = free_port()
    async with SignalingServer(port=port) as server:
        ann = SignalingClient(server.url, "r")
        await ann.connect()
        hearing = asyncio.create_task(event(ann))
    assert not hearing.done()
    async with SignalingServer(port=port) as server:
        assert await hearing == {"type": "rejoined", "kept": False}
        async with SignalingClient(server.url, "r") as bob:
            assert bob.peers == 1
            await ann.close()


async def test_a_server_that_is_gone_for_good_is_said() -> None:
    server = SignalingServer()
    await server.start()
    ann = SignalingClient(server.url, "r", patience_s=0.3)
    await ann.connect()
    hearing = asyncio.create_task(ann.receive())
    await server.stop()
    with pytest.raises(SignalingUnreachable, match="cannot reach the signaling server"):
        await hearing
    with pytest.raises(SignalingUnreachable, match="cannot reach the signaling server"):
        await ann.send({})
    await ann.close()
    await ann.close()
    with pytest.raises(SignalingError, match="not connected"):
        await ann.send({})
    with pytest.raises(SignalingError, match="not connected"):
        await ann.receive()


async def test_a_client_waits_for_a_server_that_starts_late() -> None:
    server = SignalingServer(port=free_port())
    ann = SignalingClient(server.url, "r")
    connecting = asyncio.create_task(ann.connect())
    await asyncio.sleep(0.25)
    assert not connecting.done()
    async with server:
        await connecting
        await ann.close()


async def test_a_client_gives_up_with_one_clear_line(caplog: pytest.LogCaptureFixture) -> None:
    url = f"ws://127.0.0.1:{free_port()}/ws"
    with pytest.raises(
        SignalingUnreachable, match=f"cannot reach the signaling server at {url}: "
    ) as error:
        await SignalingClient(url, "r", patience_s=0.3).connect()
    assert "\n" not in str(error.value)
    assert caplog.messages == [f"cannot reach the signaling server at {url} yet; trying for 0.3 s"]


async def test_a_client_does_not_insist_where_it_cannot_help() -> None:
    with pytest.raises(SignalingUnreachable, match="is no address of a signaling server"):
        await SignalingClient("nonsense", "r").connect()
    async with SignalingServer() as server:
        wrong = server.url + "/other"
        with pytest.raises(SignalingUnreachable, match="it answers with HTTP 404"):
            await SignalingClient(wrong, "r").connect()
        secure = server.url.replace("ws://", "wss://")
        with pytest.raises(SignalingUnreachable, match="cannot prove who it is"):
            await SignalingClient(secure, "r").connect()


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_server_is_found_by_its_host_alone(end: str) -> None:
    async with SignalingServer() as server:
        host = server.url.removesuffix("/ws")
        async with SignalingClient(host + end, "r") as ann:
            assert ann.peers == 0


async def test_a_client_waits_where_the_server_is_busy() -> None:
    async with SignalingServer(limits=Limits(max_rooms=1, connections_per_address=2)) as server:
        async with SignalingClient(server.url, "r"):
            with pytest.raises(SignalingRefused, match="no room left: try again later"):
                await SignalingClient(server.url, "q", patience_s=0.3).connect()
            patient = SignalingClient(server.url, "q")
            connecting = asyncio.create_task(patient.connect())
            await asyncio.sleep(0.3)
            assert not connecting.done()
        await connecting
        async with raw(server):
            with pytest.raises(SignalingUnreachable, match="429"):
                await SignalingClient(server.url, "p", patience_s=0.3).connect()
        await patient.close()


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
        await join(client)
        await client.send_json({"type": "message", "data": [1]})
        await client.send_json({"type": "message", "data": {"good": 1}})
        assert await event(ann) == {"type": "peer-joined"}
        assert await event(ann) == {"type": "message", "data": {"good": 1}}


async def use(client: SignalingClient) -> None:
    await client.connect()
    await event(client)


JOINED = '{"type": "joined", "peers": 0, "rejoin": "secret", "kept": false}'


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (["[]"], "sends what is no JSON object"),
        (["[" * 40_000], "sends what is no JSON object"),
        (['{"type": "joined"}'], "is no signaling server that Gemino knows"),
        ([JOINED.replace("0", "5")], "is no signaling server that Gemino knows"),
        ([JOINED.replace("secret", "x" * 300)], "is no signaling server that Gemino knows"),
        (['{"type": "error", "code": [], "reason": "\\u001b[2J\\n no"}'], r"refuses: \[2J no$"),
        ([JOINED, "x" * 200_000], r"closed the connection \(code 1009\)"),
        ([JOINED, '"' + "x" * 10], "sends what is no JSON object"),
        ([], "cannot reach the signaling server at .* before it answered"),
    ],
    ids=["array", "deep", "bare", "peers", "secret", "error", "large", "later", "silent"],
)
async def test_a_hostile_server_is_left_with_one_clear_line(says: list[str], message: str) -> None:
    async def speak(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        for text in says:
            await socket.send_str(text)
        if says:
            await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/ws", speak)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    ann = SignalingClient(f"ws://127.0.0.1:{port}/ws", "r", patience_s=1.0)
    try:
        with pytest.raises(SignalingError, match=message) as error:
            await use(ann)
        assert "\n" not in str(error.value)
    finally:
        await ann.close()
        await runner.cleanup()


async def test_a_server_that_hangs_up_again_and_again_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "_FIRST_DELAY_S", 0.01)
    async with SignalingServer() as server:
        ann = SignalingClient(server.url, "r")
        await ann.connect()

        async def refuse(*_: object) -> None:
            raise aiohttp.ClientConnectionResetError("broken")

        monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", refuse)
        monkeypatch.setattr(ann, "_enter", lambda _session: asyncio.sleep(0, ann._socket))
        with pytest.raises(SignalingUnreachable, match="closes every connection"):
            await ann.send({"n": 1})
        await ann.close()


async def test_a_place_taken_over_ends_the_old_connection_for_good() -> None:
    async with (
        SignalingServer() as server,
        SignalingClient(server.url, "r") as ann,
        raw(server) as twin,
    ):
        joined = await join(twin, rejoin=ann._rejoin)
        assert (joined["type"], joined["kept"]) == ("joined", True)
        with pytest.raises(SignalingRefused, match="taken over") as refused:
            await event(ann)
        assert refused.value.code == "replaced"
        await ann.close()
        await twin.send_json({"type": "message", "data": {}})
        assert (await answer(twin))["code"] == "no-peer"  # and no "peer-left": it is the same peer
