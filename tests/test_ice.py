"""STUN and TURN servers, trickled candidates, and what is said where there is no path."""

import asyncio
import base64
import hashlib
import hmac
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioice.ice
import pytest

from gemino.call.ice import IceOptions, IceServer, from_joined, from_urls
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.peer import Peer
from gemino.call.report import peer_report
from gemino.call.sources import ClipSource
from gemino.cli import connectivity, meeting
from gemino.errors import CallError, IceError
from signaling import IceServers, SignalingServer
from signaling.command import main
from signaling.ice import credentials
from test_call import make_clip, movie_frames
from tiny_model import write_tiny_model
from turn_server import SECRET, TurnServer, free_udp_port, needs_turnserver, turn_server

MEDIA = MediaOptions(size_px=256, model=None)


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TurnServer]:
    with turn_server(tmp_path_factory.mktemp("turn")) as server:
        yield server


@dataclass
class Pair:
    """Two peers in one process, one that sends `clip` and one that receives it."""

    sender: Peer
    receiver: Peer
    output: Path

    async def run(self) -> list[BaseException | None]:
        """How each ended; the one that ends first takes the other with it soon."""
        tasks = [asyncio.create_task(peer.run()) for peer in (self.sender, self.receiver)]
        done, _ = await asyncio.wait(tasks, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(tasks, timeout=15 if done else 0)
        for peer in (self.sender, self.receiver):
            peer.stop()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    def shown(self) -> int:
        return len(movie_frames(self.output))


async def make_pair(
    stack: AsyncExitStack,
    folder: Path,
    ices: tuple[IceOptions, IceOptions],
    *,
    told: IceServers | None = None,
    local: bool = True,
) -> Pair:
    server = await stack.enter_async_context(SignalingServer(ice=told))
    output = folder / "received.mp4"
    sending: dict[str, Any] = {"source": ClipSource(make_clip(folder / "clip.mkv", 8))}
    peers = [
        Peer(
            PeerOptions("room", server.url, MEDIA, local=local, ice=ice, **role),
            lambda _peer, _now: None,
        )
        for ice, role in zip(ices, (sending, {"output": output}), strict=True)
    ]
    return Pair(peers[0], peers[1], output)


@pytest.fixture(autouse=True)
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer with `local` replaces this for its process; put it back after the test."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)


@needs_turnserver
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_through_a_relay_alone(
    transport: str, turn: TurnServer, tmp_path: Path
) -> None:
    before = turn.relayed()
    url = f"{turn.url}?transport={transport}"
    ice = from_urls([url], secret=SECRET, policy="relay")
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, (ice, ice))
        assert await pair.run() == [None, None]
    assert pair.shown() > 0
    assert turn.relayed() == before + 2  # one each: all media share a transport
    for peer in (pair.sender, pair.receiver):
        assert "typ relay" in peer._link.connection.localDescription.sdp
        assert "typ host" not in peer._link.connection.localDescription.sdp


@needs_turnserver
async def test_the_signaling_server_hands_out_credentials(turn: TurnServer, tmp_path: Path) -> None:
    told = IceServers((turn.url,), SECRET)
    ices = (IceOptions(policy="relay"), IceOptions(policy="relay"))
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, ices, told=told)
        assert await pair.run() == [None, None]
    assert pair.shown() > 0


@needs_turnserver
async def test_a_relay_that_comes_late_is_trickled_to_a_peer_that_has_no_other_way(
    turn: TurnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own addresses lead nowhere; what the TURN server gives follows the description."""
    deaf: list[Any] = []
    pair_up = aioice.ice.Connection._pair_remote_candidate

    def pair_relays(agent: Any, theirs: Any) -> None:
        if theirs.type == "host":
            deaf.append(theirs)
        else:
            pair_up(agent, theirs)

    monkeypatch.setattr(aioice.ice.Connection, "_pair_remote_candidate", pair_relays)
    incoming = aioice.ice.Connection.check_incoming

    def check_relays(agent: Any, message: Any, address: Any, protocol: Any) -> None:
        if protocol.local_candidate.type != "host":
            incoming(agent, message, address, protocol)

    monkeypatch.setattr(aioice.ice.Connection, "check_incoming", check_relays)
    ice = from_urls([turn.url], secret=SECRET)
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, (ice, ice))
        assert await pair.run() == [None, None]
    assert deaf
    assert pair.shown() > 0
    for peer in (pair.sender, pair.receiver):
        assert "typ relay" not in peer._link.connection.localDescription.sdp


async def test_a_server_that_does_not_answer_holds_up_nobody(tmp_path: Path) -> None:
    dead = f"127.0.0.1:{free_udp_port()}"
    ice = from_urls([f"stun:{dead}", f"turn:{dead}"], user="me", password="mine")  # noqa: S106
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, (ice, ice))
        took: list[float] = []

        async def watch() -> None:
            while not pair.receiver.conversation or not pair.sender.conversation:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            took.append(time.monotonic())

        tracking = asyncio.create_task(watch())
        started: list[float] = []
        meet = pair.sender._link.meet

        async def noted(*arguments: Any) -> None:
            started.append(time.monotonic())
            await meet(*arguments)

        pair.sender._link.meet = noted  # type: ignore[method-assign, assignment]
        assert await pair.run() == [None, None]
        await tracking
    assert took[0] - started[0] < 4  # asked in vain for five seconds, it would be more


@needs_turnserver
async def test_wrong_credentials_are_named(turn: TurnServer, tmp_path: Path) -> None:
    expired = credentials(SECRET, time.time() - 3600, 60)
    ices = (
        from_urls([turn.url], user="nobody", password="wrong", policy="relay"),  # noqa: S106
        from_urls([turn.url], user=expired[0], password=expired[1], policy="relay"),
    )
    for ice in ices:
        async with AsyncExitStack() as stack:
            pair = await make_pair(stack, tmp_path, (ice, IceOptions()))
            ends = await pair.run()
        assert isinstance(ends[0], IceError)
        assert "refuses our credentials (401): are they right, and not expired?" in str(ends[0])
        assert isinstance(ends[1], CallError)  # and the other one hears that we left


async def test_a_relay_is_asked_for_only_where_there_is_one(tmp_path: Path) -> None:
    ice = from_urls(["stun:127.0.0.1:9"], policy="relay")
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, (ice, ice))
        ends = await pair.run()
    assert any("needs a TURN server: --ice-server turn:HOST:PORT" in str(end) for end in ends)


def test_credentials_are_those_that_coturn_expects() -> None:
    # echo -n 1700003600 | openssl dgst -sha1 -hmac secret -binary | base64
    name, password = credentials(b"secret", 1_700_000_000.9, 3600)
    assert name == "1700003600"
    assert (
        password
        == base64.b64encode(hmac.new(b"secret", b"1700003600", hashlib.sha1).digest()).decode()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"urls": ["http://x"]}, "is no ICE server"),
        ({"urls": ["turn:x:0"], "user": "a", "password": "b"}, "a port is in 1..65535"),
        ({"urls": ["stun:x?transport=tcp"]}, "names no transport"),
        ({"urls": ["turns:x?transport=udp"], "user": "a", "password": "b"}, "runs over tcp"),
        ({"urls": ["turn:x"]}, "needs credentials"),
        ({"urls": ["turn:x"], "user": "a"}, "needs credentials"),
        ({"urls": ["turn:x"], "user": "a", "secret": b"s"}, "not both"),
        ({"urls": ["stun:x"] * 9}, "9 ICE servers are too many"),
        ({"urls": [], "policy": "none"}, "ice-policy must be all or relay"),
    ],
)
def test_what_is_no_server_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        from_urls(**arguments)


def test_what_a_signaling_server_names_is_checked() -> None:
    good = {"urls": ["turn:relay.test:3478?transport=tcp"], "username": "u", "credential": "p"}
    server = IceServer("turn:relay.test:3478?transport=tcp", "u", "p")
    assert from_joined([good]) == (server,)
    assert from_joined([good | {"urls": "stun:relay.test"}]) == (
        IceServer("stun:relay.test", "u", "p"),
    )
    junk: list[object] = [
        None,
        {},
        "turn:x",
        [7],
        [{}],
        [{"urls": 7}],
        [good | {"credential": "x" * 999}],
    ]
    assert [from_joined(one) for one in junk] == [()] * len(junk)
    assert len(from_joined([good] * 100)) == 8
    assert "secret" not in repr(IceServer("turn:x", "u", "secret"))


async def test_a_peer_without_our_model_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is sent to all the same, and shows what it can."""
    model = str(write_tiny_model(tmp_path / "tiny").path)
    async with SignalingServer() as server:
        output, clip = tmp_path / "out.mp4", make_clip(tmp_path / "clip.mkv", 8)
        media = MediaOptions(size_px=256, model=model)
        peers = [
            Peer(PeerOptions("room", server.url, one, local=True, **role), lambda *_: None)
            for one, role in (
                (media, {"source": ClipSource(clip)}),
                (MEDIA, {"output": output}),
            )
        ]
        await asyncio.wait_for(asyncio.gather(*(peer.run() for peer in peers)), 60)
    assert "the other peer has no network: it enlarges the small picture" in caplog.text
    report = peer_report(peers[0].outgoing, None)["sent"]
    assert report["their_model"] == "none"
    assert report["reference_bytes"] == 0  # nothing that it could not use
    assert len(movie_frames(output)) > 0


def test_a_signaling_server_describes_its_servers_as_browsers_take_them() -> None:
    servers = IceServers(("stun:one.test", "turn:two.test:99"), SECRET, life_s=60)
    name, password = credentials(SECRET, 1000.0, 60)
    assert servers.describe(1000.0) == [
        {"urls": ["stun:one.test"]},
        {"urls": ["turn:two.test:99"], "username": name, "credential": password},
    ]
    assert from_joined(servers.describe(1000.0)) == (
        IceServer("stun:one.test"),
        IceServer("turn:two.test:99", name, password),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ice-server", "turn:x"], "needs the secret that it shares"),
        (["--ice-server", "gopher:x"], "is no ICE server"),
        (["--ice-server", "stun:x"] * 9, "9 ICE servers are too many"),
        (["--ice-server", "turn:x", "--turn-secret", "{}/none"], "cannot be read"),
        (["--ice-server", "turn:x", "--turn-secret", "{}/short"], "at least 16 bytes"),
    ],
)
def test_a_signaling_server_says_which_servers_it_cannot_name(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short").write_text("short")
    assert main([word.format(tmp_path) for word in arguments], "signal") == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


async def test_a_call_over_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6")
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: ["::1"])
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, (IceOptions(), IceOptions()), local=False)
        assert await pair.run() == [None, None]
    assert pair.shown() > 0
    assert " ::1 " in pair.sender._link.connection.localDescription.sdp


async def test_a_connection_on_this_machine_takes_less_than_a_second(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        pair = await make_pair(stack, tmp_path, (IceOptions(), IceOptions()))
        assert await pair.run() == [None, None]
    took_s = [peer.setup()["connect_s"] for peer in (pair.sender, pair.receiver)]
    # Of a machine that may be busy: it is half a second on one that is.
    assert all(isinstance(took, float) and took < 4 for took in took_s)
    assert pair.sender.setup()["other"] == "gemino"


def test_who_listens_tells_the_other_side_of_servers_but_no_lasting_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    urls = ["stun:one.test", "turn:two.test"]
    for file, names in ((None, urls[:1]), (secret, urls)):
        told = connectivity.Ice(servers=urls, turn_secret=file).told()
        assert told is not None
        assert list(told.urls) == names
        assert meeting.own_server("127.0.0.1", 0, local=True, told=told).told is told
        assert SECRET.decode() not in str(told.describe(0.0))
    assert connectivity.Ice().told() is None
