"""What may go wrong between two peers: a clear line, and the call survives what it can."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any, TypeVar

import aioice.ice
import aiortc.clock
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from gemino.call import candidates, conversation, link
from gemino.call.candidates import Candidates
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.peer import Interrupted, Peer
from gemino.call.signaling import SignalingClient
from gemino.call.sources import Feed, PatternSource, ScheduledPictures
from gemino.cli.connectivity import Ice
from gemino.errors import (
    CallError,
    DtlsError,
    GeminoError,
    IceError,
    ModelError,
    SignalingRefused,
    SignalingUnreachable,
    WireError,
)
from gemino.wire import VERSION, Hello
from signaling import Access, SignalingServer
from test_switches import Colour, call, until

MEDIA = MediaOptions(size_px=256, model=None)
Begun = TypeVar("Begun", SignalingServer, SignalingClient)


@pytest.fixture(autouse=True)
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer with `local` replaces this for its process; put it back after the test."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)


def make_peer(url: str, **more: Any) -> Peer:
    source = None if "output" in more else PatternSource()
    return Peer(PeerOptions("room", url, MEDIA, source=source, local=True, **more), lambda *_: None)


async def failure(*peers: Peer) -> GeminoError:
    """The error of the first peer that ends with one; the others are stopped."""
    tasks = [asyncio.create_task(peer.run()) for peer in peers]
    done, _ = await asyncio.wait(tasks, timeout=60, return_when=asyncio.FIRST_EXCEPTION)
    for peer in peers:
        peer.stop()
    await asyncio.gather(*tasks, return_exceptions=True)
    errors = [task.exception() for task in done]
    (error,) = [error for error in errors if isinstance(error, GeminoError)][:1]
    assert "\n" not in str(error)
    return error


async def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SignalingClient.__init__, "__kwdefaults__", {
        **(SignalingClient.__init__.__kwdefaults__ or {}), "patience_s": 0.5,
    })  # fmt: skip
    error = await failure(make_peer("ws://127.0.0.1:9/ws", output=tmp_path / "x.mp4"))
    assert isinstance(error, SignalingUnreachable)
    assert "cannot reach the signaling server at ws://127.0.0.1:9/ws" in str(error)


async def test_a_call_can_be_stopped_while_it_looks_for_its_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = make_peer("ws://127.0.0.1:9/ws")
    run = asyncio.create_task(peer.run())
    await until(lambda: "cannot reach the signaling server" in caplog.text)
    peer.stop()
    with pytest.raises(Interrupted):
        await run


async def test_a_source_is_closed_where_the_call_cannot_begin() -> None:
    feeds: list[Feed] = []

    class Noted(PatternSource):
        def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
            feeds.append(super().open(size_px, kbps, seconds))
            return feeds[-1]

    media = MediaOptions(size_px=256, model="nobody")
    peer = Peer(PeerOptions("room", "ws://127.0.0.1:9", media, source=Noted()), lambda *_: None)
    with pytest.raises(ModelError):
        await peer.run()
    assert isinstance(pictures := feeds[0].pictures, ScheduledPictures)
    assert pictures._closed.is_set()


async def test_a_wrong_token_and_a_missing_one() -> None:
    async with SignalingServer(access=Access(secret=secrets.token_bytes(32))) as server:
        for token in ("v1.9999999999." + "x" * 43, None):
            error = await failure(make_peer(server.url, token=token))
            assert isinstance(error, SignalingRefused)
            assert error.code == ("bad-token" if token else "token-required")


def begun(kind: type[Begun], begin: str, monkeypatch: pytest.MonkeyPatch) -> list[Begun]:
    """Those of `kind` whose method `begin` is called from now on."""
    noted: list[Begun] = []
    real = getattr(kind, begin)

    async def note(one: Begun) -> None:
        noted.append(one)
        await real(one)

    monkeypatch.setattr(kind, begin, note)
    return noted


async def test_a_second_device_does_not_get_into_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = begun(SignalingServer, "start", monkeypatch)
    async with call(Colour(90), tmp_path, monkeypatch) as (_, _, watcher):
        error = await failure(make_peer(servers[0].url))
        assert isinstance(error, SignalingRefused)
        assert error.code == "room-full"
        frames = watcher.frames
        await until(lambda: watcher.frames > frames + 3)


async def test_a_call_outlives_its_signaling_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = begun(SignalingServer, "start", monkeypatch)
    async with call(Colour(90), tmp_path, monkeypatch) as (_, _, watcher):
        await servers[0].stop()
        frames = watcher.frames
        await until(lambda: watcher.frames > frames + 20)


async def test_the_wall_clock_may_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall, ntp = time.time, aiortc.clock.current_ntp_time
    async with call(Colour(90), tmp_path, monkeypatch) as (_, _, watcher):
        jump_s = [0]
        monkeypatch.setattr(time, "time", lambda: wall() + jump_s[0])
        monkeypatch.setattr(aiortc.clock, "current_ntp_time", lambda: ntp() + (jump_s[0] << 32))
        for jump_s[0] in (3600, -86_400, 0):
            wanted = watcher.frames + 8
            await until(lambda: watcher.frames > wanted)  # noqa: B023 - called at once
    assert watcher.times == sorted(watcher.times)


async def say_in_room(url: str, *messages: dict[str, Any]) -> None:
    """Another client, who says these as soon as somebody else is there, until they leave."""
    async with SignalingClient(url, "room") as client:
        while not client.peers and (await client.receive())["type"] != "peer-joined":
            pass
        for message in messages:
            await client.send(message)
        async with asyncio.timeout(20):
            while (await client.receive())["type"] != "peer-left":
                pass


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"hello": 1}], "sends no WebRTC description"),
        ([{"type": "offer", "sdp": "v=0\r\nm=video 9 x 1\r\n"}], "cannot be read"),
        ([{"type": "offer", "sdp": "\x00" * 1000}], "is it a WebRTC peer"),
        ([{"candidate": {"candidate": "junk"}}, {"type": "answer", "sdp": ""}], "lacks media"),
    ],
)
async def test_what_comes_in_place_of_a_description(
    messages: list[dict[str, Any]], said: str
) -> None:
    async with SignalingServer() as server:
        peer = make_peer(server.url, wait_s=30)
        asked = asyncio.create_task(failure(peer))
        await until(lambda: server._switchboard.gauges()["peers"] == 1)
        await say_in_room(server.url, *messages)
        assert said in str(await asked)


async def test_a_description_that_leaves_aiortc_half_made_is_a_line_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", link.__name__)
    stranger = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    stranger.createDataChannel("gemino", negotiated=True, id=0)
    stranger.addTransceiver("video")
    await stranger.setLocalDescription(await stranger.createOffer())
    lines = stranger.localDescription.sdp.splitlines(keepends=True)
    await stranger.close()
    sdp = "".join(line for line in lines if not line.startswith("m=video"))
    async with SignalingServer() as server:
        peer = make_peer(server.url, wait_s=30)
        asked = asyncio.create_task(failure(peer))
        await until(lambda: server._switchboard.gauges()["peers"] == 1)
        await say_in_room(server.url, {"type": "offer", "sdp": sdp})
        assert isinstance(await asked, CallError)
    assert "cannot be closed in order" in caplog.text


async def test_junk_and_a_second_description_in_mid_call_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = begun(SignalingClient, "connect", monkeypatch)
    async with call(Colour(90), tmp_path, monkeypatch) as (sender, _, watcher):
        for client in clients:
            for junk in (
                {"type": "offer", "sdp": "v=0"},
                {"candidate": {"candidate": "junk"}},
                {"candidate": {"candidate": "candidate:1 1 udp 1 192.0.2.9 9 typ host"}},
                {"candidate": None},
                {"x": ["y"] * 500},
            ):
                await client.send(junk)
        frames = watcher.frames
        await until(lambda: watcher.frames > frames + 8 and sender._link._bad >= 3)


async def test_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_HELLO_S", 1.0)
    serialize = Hello.serialize

    def newer(hello: Hello) -> bytes:
        data = serialize(hello)
        return data[:1] + bytes([VERSION + 1]) + data[2:]

    monkeypatch.setattr(Hello, "serialize", newer)
    async with SignalingServer() as server:
        error = await failure(
            make_peer(server.url), make_peer(server.url, output=tmp_path / "x.mp4")
        )
    assert "the other peer does not speak this protocol: Hello: version" in str(error)


async def test_no_path_is_an_ice_error_that_says_what_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both peers' datagrams go nowhere, as behind a firewall."""
    monkeypatch.setattr(link, "_CONNECT_S", 1.5)
    monkeypatch.setattr(candidates, "_ANSWER_S", 0.5)
    for name in ("send_stun", "datagram_received"):
        monkeypatch.setattr(aioice.ice.StunProtocol, name, lambda *_: None)
    ice = Ice(servers=["stun:127.0.0.1:9"]).options(loopback=False)
    async with SignalingServer() as server:
        error = await failure(
            make_peer(server.url, ice=ice),
            make_peer(server.url, output=tmp_path / "x.mp4", ice=ice),
        )
    assert isinstance(error, IceError)
    assert "stun:127.0.0.1:9 does not answer" in str(error)
    assert "1 addresses here and 1 there were tried: open UDP in the firewall, or" in str(error)


async def test_no_encryption_is_a_dtls_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STUN gets through and nothing else, as through some proxies."""
    monkeypatch.setattr(link, "_CONNECT_S", 2.0)

    def deaf(agent: Any, data: bytes, component: int) -> None:
        """DTLS never comes."""

    monkeypatch.setattr(aioice.ice.Connection, "data_received", deaf)
    async with SignalingServer() as server:
        error = await failure(
            make_peer(server.url), make_peer(server.url, output=tmp_path / "x.mp4")
        )
    assert isinstance(error, DtlsError)
    assert "DTLS: the other peer is reached, but agrees on no encryption" in str(error)


async def test_candidates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MAX_CANDIDATES", 3)
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    both = Candidates(connection, [], relay_only=False)
    line = "candidate:1 1 udp 1 192.0.2.9 {} typ host"
    for port in (9, 10, 11):
        await both.take({"candidate": {"candidate": line.format(port), "sdpMLineIndex": 0}})
    with pytest.raises(WireError, match="more than 3 candidates"):
        await both.take({"candidate": {"candidate": line.format(12), "sdpMLineIndex": 0}})
    await connection.close()


async def test_a_name_that_cannot_be_looked_up_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_subscriber: object) -> None:
        raise OSError("no multicast here")

    monkeypatch.setattr(aioice.ice, "get_or_create_mdns_protocol", fail)
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    connection.addTransceiver("video")
    both = Candidates(connection, [], relay_only=False)
    mid = {"sdpMid": None, "sdpMLineIndex": 0}
    hidden = "candidate:1 1 udp 1 0a1b2c3d-0000-4000-8000-000000000000.local 9 typ host"
    await connection.setLocalDescription(await connection.createOffer())
    await both.take({"candidate": {"candidate": hidden, **mid}})
    assert both.theirs == 0
    await connection.close()


@pytest.mark.parametrize(
    "asked", [Ice(servers=["stun:x"]), Ice(policy="relay")], ids=["server", "policy"]
)
def test_a_loopback_call_asks_no_servers(asked: Ice) -> None:
    with pytest.raises(CallError, match="--loopback stays on this machine"):
        asked.options(loopback=True)


@pytest.mark.parametrize("servers", [None, ["stun:x"]])
def test_a_relay_that_nobody_can_name_is_missed_at_once(servers: list[str] | None) -> None:
    asked = Ice(servers=servers, policy="relay")
    with pytest.raises(CallError, match="needs a TURN server"):
        asked.options(loopback=False, listens=True)
    asked.options(loopback=False)  # the signalling server of others may name one


def test_a_secret_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    for name, said in (("none", "cannot be read"), ("empty", "is empty")):
        with pytest.raises(CallError, match=said):
            Ice(servers=["turn:x"], turn_secret=tmp_path / name).options(loopback=False)


@pytest.mark.parametrize("how", ["stopped", "cancelled"])
async def test_nothing_goes_on_behind_a_call_that_was_given_up(how: str) -> None:
    async with SignalingServer() as server:
        before = asyncio.all_tasks()
        peer = make_peer(server.url, wait_s=60)
        run = asyncio.create_task(peer.run())
        await until(lambda: server._switchboard.gauges()["peers"] == 1)
        peer.stop() if how == "stopped" else run.cancel()
        (end,) = await asyncio.gather(run, return_exceptions=True)
        assert isinstance(end, Interrupted if how == "stopped" else asyncio.CancelledError)
        await until(lambda: server._switchboard.gauges()["connections"] == 0)
        await until(lambda: asyncio.all_tasks() <= before)
