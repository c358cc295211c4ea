"""The rendezvous server against clients that break its rules, and its command."""

import asyncio
import datetime as dt
import json
import shutil
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from gemino.call.signaling import SignalingClient
from gemino.cli.main import app
from gemino.errors import SignalingUnreachable
from raw_signaling import answer, close_code, cut, get, join, metric, raw
from signaling import Access, Limits, SignalingServer, StartError
from signaling.access import Network
from signaling.command import _network, main

ROOT = Path(__file__).parents[1]


async def test_healthz_counts() -> None:
    async with SignalingServer() as server, raw(server) as client:
        assert json.loads((await get(server, "/healthz"))[1]) == {
            "status": "ok",
            "rooms": 0,
            "peers": 0,
        }
        await join(client)
        assert json.loads((await get(server, "/healthz"))[1])["peers"] == 1


async def test_metrics_count_what_happens() -> None:
    async with SignalingServer() as server, raw(server) as ann, raw(server) as bob:
        await join(ann)
        await join(bob)
        await bob.send_json({"type": "message", "data": "é"})
        assert [(await answer(ann))["type"] for _ in range(2)] == ["peer-joined", "message"]
        async with raw(server) as eve:
            assert (await join(eve))["code"] == "room-full"
        names = ("rooms", "peers", "joins_total", "relayed_messages_total", "relayed_bytes_total")
        assert [await metric(server, name) for name in names] == [1, 2, 2, 1, 30]
        assert await metric(server, 'refused_total{code="room-full"}') == 1


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
        ('{"type": "join", "room": "r", "create": false}', "unknown-room"),
        ('{"type": "join", "room": "r", "rejoin": "secret"}', "bad-rejoin"),
    ],
)
async def test_what_is_no_join_is_refused(message: str, code: str) -> None:
    async with SignalingServer() as server, raw(server) as client:
        await client.send_str(message)
        assert (await answer(client))["code"] == code
        assert await close_code(client) == 1008
        assert await metric(server, "rooms") == 0


async def test_a_bad_message_after_the_join_ends_it_and_the_other_peer_hears_of_it() -> None:
    async with SignalingServer() as server, raw(server) as ann:
        await join(ann)
        async with raw(server) as client:
            assert (await join(client))["peers"] == 1
            await client.send_bytes(b"\0")
            assert (await answer(client))["code"] == "bad-message"
        assert [(await answer(ann))["type"] for _ in range(2)] == ["peer-joined", "peer-left"]


async def test_a_large_message_closes_the_connection_and_keeps_no_place() -> None:
    async with SignalingServer() as server, raw(server) as client:
        await join(client)
        await client.send_str("x" * 70_000)
        assert await close_code(client) == 1009
        async with asyncio.timeout(5):
            while await metric(server, "rooms"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await metric(server, "lost_total") == 0


async def test_a_device_without_the_secret_gets_no_kept_place() -> None:
    async with SignalingServer(limits=Limits(rejoin_s=0.6)) as server, raw(server) as ann:
        await join(ann)
        async with raw(server) as bob:
            secret = (await join(bob))["rejoin"]
            cut(bob)
            assert [(await answer(ann))["type"] for _ in range(2)] == ["peer-joined", "peer-lost"]
        async with raw(server) as eve:
            refusal = await join(eve)
            assert (refusal["code"], "try again in 1 s" in refusal["reason"]) == ("room-full", True)
        async with raw(server) as eve:
            assert (await join(eve, rejoin=secret[:-1]))["code"] == "bad-rejoin"
        assert (await answer(ann))["type"] == "peer-left"  # after 0.6 s
        async with raw(server) as bob:
            assert (await join(bob, rejoin=secret))["code"] == "bad-rejoin"
        async with raw(server) as bob:
            assert (await join(bob))["kept"] is False
            assert (await answer(ann))["type"] == "peer-joined"
            await bob.close()
        assert (await answer(ann))["type"] == "peer-left"  # a close frame is a goodbye
        assert await metric(server, "lost_total") == 1


async def test_silence_before_and_after_the_join_is_limited() -> None:
    limits = Limits(join_timeout_s=0.3, idle_timeout_s=0.4, heartbeat_s=0.1)
    async with SignalingServer(limits=limits) as server:
        async with raw(server) as client:
            assert (await answer(client))["code"] == "idle"
        async with raw(server, heartbeat=0.1) as client:  # pings are no sign of use
            assert (await join(client))["type"] == "joined"
            await asyncio.sleep(0.2)
            await client.send_json({"type": "ping"})
            assert await answer(client) == {"type": "pong"}
            await asyncio.sleep(0.2)
            assert (await answer(client))["code"] == "idle"


async def test_a_connection_that_asks_for_nothing_is_closed() -> None:
    async with SignalingServer(limits=Limits(join_timeout_s=0.2)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n")  # and never an end
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_client_that_answers_no_ping_is_lost() -> None:
    async with (
        SignalingServer(limits=Limits(heartbeat_s=0.2, rejoin_s=0.2)) as server,
        raw(server) as ann,
        raw(server, autoping=False) as client,
    ):
        await join(ann)
        await join(client)
        kinds = [(await answer(ann))["type"] for _ in range(3)]
        assert kinds == ["peer-joined", "peer-lost", "peer-left"]


async def test_a_flood_of_messages_is_ended() -> None:
    async with (
        SignalingServer(limits=Limits(messages_per_second=1)) as server,
        raw(server) as ann,
        raw(server) as client,
    ):
        await join(ann)
        await join(client)
        for _ in range(30):
            await client.send_json({"type": "message", "data": {}})
        assert (await answer(client))["code"] == "too-many-messages"
        kinds = [(await answer(ann))["type"] for _ in range(12)]
        assert kinds[0] == "peer-joined"
        assert set(kinds[1:11]) == {"message"}


async def test_a_flood_of_connections_is_ended() -> None:
    limits = Limits(joins_per_minute=3, connections_per_address=2)
    async with SignalingServer(limits=limits) as server:
        async with raw(server) as ann, raw(server) as bob:
            await join(ann)
            await join(bob, "q")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                async with raw(server):
                    pass
        for code in ("joined", "error"):
            async with raw(server) as client:
                assert (await join(client, "p"))["type"] == code
        assert await metric(server, 'refused_total{code="too-many-joins"}') == 1
        assert await metric(server, 'refused_total{code="too-many-connections"}') == 1


async def test_a_slow_reader_is_dropped_and_holds_up_nobody() -> None:
    limits = Limits(max_backlog_bytes=200_000, messages_per_second=10_000, heartbeat_s=60)
    async with SignalingServer(limits=limits) as server, raw(server) as ann:
        await join(ann)
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        text = b'{"type":"join","room":"r"}'
        writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # and reads no more
        assert (await answer(ann))["type"] == "peer-joined"
        for _ in range(400):  # 24 MB: more than the kernel's buffers take
            await ann.send_json({"type": "message", "data": "x" * 60_000})
        assert (await answer(ann))["type"] == "peer-left"
        assert await metric(server, 'refused_total{code="too-slow"}') == 1
        writer.close()


async def test_what_waits_for_a_lost_peer_is_bounded() -> None:
    limits = Limits(max_backlog_bytes=100_000)
    async with SignalingServer(limits=limits) as server, raw(server) as ann, raw(server) as bob:
        await join(ann)
        secret = (await join(bob))["rejoin"]
        cut(bob)
        assert [(await answer(ann))["type"] for _ in range(2)] == ["peer-joined", "peer-lost"]
        for _ in range(3):
            await ann.send_json({"type": "message", "data": "x" * 60_000})
        assert (await answer(ann))["type"] == "peer-left"
        assert (await answer(ann))["code"] == "no-peer"
        async with raw(server) as again:
            assert (await join(again, rejoin=secret))["code"] == "bad-rejoin"


async def test_pages_of_other_origins_are_kept_out() -> None:
    async with SignalingServer() as server:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with raw(server, origin="https://evil.example"):
                pass
        async with raw(server, origin=f"http://{server.host}:{server.port}") as client:
            await join(client)
        assert await metric(server, 'refused_total{code="bad-origin"}') == 1
    async with (
        SignalingServer(access=Access(origins=("https://call.example",))) as server,
        raw(server, origin="https://call.example") as client,
    ):
        await join(client)


@pytest.mark.parametrize(("proxies", "together"), [(("127.0.0.1",), False), ((), True)])
async def test_only_a_trusted_proxy_tells_addresses(
    proxies: tuple[str, ...], together: bool
) -> None:
    trusted: tuple[Network, ...] = tuple(_network(proxy) for proxy in proxies)
    access = Access(trusted_proxies=trusted)
    async with SignalingServer(limits=Limits(joins_per_minute=1), access=access) as server:
        kinds = []
        for address in ("203.0.113.1", "203.0.113.2"):
            async with raw(server, headers={"X-Forwarded-For": address}) as client:
                kinds.append((await join(client))["type"])
        assert kinds == ["joined", "error" if together else "joined"]


async def test_a_stopping_server_tells_its_clients_and_lets_rooms_fill() -> None:
    server = SignalingServer()
    await server.start()
    async with raw(server) as ann, raw(server) as bob, raw(server) as eve:
        await join(ann)
        draining = asyncio.create_task(server.drain(30))
        assert await answer(ann) == {"type": "going-away", "seconds": 30}
        assert (await get(server, "/healthz"))[0] == 503
        assert (await join(eve, "new"))["code"] == "going-away"
        assert (await join(bob))["peers"] == 1
        await bob.close()
        await ann.close()
        await asyncio.wait_for(draining, 10)  # not 30 s: everybody has left
    await server.stop()


async def test_a_stopped_server_closes_with_going_away() -> None:
    server = SignalingServer()
    await server.start()
    async with raw(server) as ann:
        await join(ann)
        await server.drain(0.1)
        hearing = asyncio.create_task(close_code(ann))
        await server.stop()
        assert await hearing == 1001


async def test_a_port_in_use_is_named() -> None:
    async with SignalingServer() as server:
        with pytest.raises(StartError, match=rf"cannot listen on 127.0.0.1:{server.port}: .*use"):
            await SignalingServer(port=server.port).start()


# The command


async def start(*arguments: str, cwd: Path = ROOT) -> tuple[asyncio.subprocess.Process, str]:
    """The server as a process of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signaling", "--port", "0", *arguments),
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on "), (await process.communicate())[1]
    return process, line.split()[-1]


def run(*arguments: str) -> int:
    """The exit code of the command, run in this process."""
    try:
        return main(arguments, "signaling")
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(("how", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_the_command_runs_until_it_is_told_to_stop(how: int, exit_code: int) -> None:
    process, url = await start("--drain", "60")
    async with SignalingClient(url, "r", patience_s=0.2) as ann:
        process.send_signal(how)
        await asyncio.sleep(0.3)
        assert process.returncode is None  # it waits for us to leave
        await ann.send({})
        process.send_signal(how)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert errors == b""
    assert await process.wait() == exit_code


def certify(folder: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(pem)
    )
    return path


async def test_the_command_serves_tls_and_reads_a_new_certificate(tmp_path: Path) -> None:
    first, second = certify(tmp_path, "first"), certify(tmp_path, "second")
    served = tmp_path / "served.pem"
    shutil.copy(first, served)
    process, url = await start("--tls-cert", str(served), "--drain", "0")
    assert url.startswith("wss://")
    url = url.replace("127.0.0.1", "localhost")
    try:
        with pytest.raises(SignalingUnreachable, match="cannot prove who it is"):
            await SignalingClient(url, "r").connect()
        async with SignalingClient(url, "r", tls=ssl.create_default_context(cafile=first)):
            pass
        shutil.copy(second, served)
        process.send_signal(signal.SIGHUP)
        tls = ssl.create_default_context(cafile=second)
        async with asyncio.timeout(10):
            while True:
                try:
                    async with SignalingClient(url, "r", tls=tls):
                        break
                except SignalingUnreachable:  # it has not heard the signal yet
                    await asyncio.sleep(0.1)
    finally:
        process.terminate()
        await process.communicate()


async def test_the_command_asks_for_the_tokens_it_mints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4 + "\n")
    assert run("token", "r", "--token-secret", str(secret), "--life", "60") == 0
    token = capsys.readouterr().out.strip()
    process, url = await start("--token-secret", str(secret), "--drain", "0")
    try:
        async with SignalingClient(url, "r", token=token) as ann:
            assert ann.peers == 0
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--max-rooms", "0"], "argument --max-rooms: must be in 1.."),
        (["--rejoin-s", "nan"], "argument --rejoin-s: must be in 0.1.."),
        (["--trusted-proxy", "10.0.0.1/8"], "has host bits set; write 10.0.0.7 or 10.0.0.0/8"),
        (["--token-secret", "no-such-file"], "no-such-file: cannot be read: No such file"),
        (["--token-secret", f"{__file__}/x"], "cannot be read: Not a directory"),
        (["--tls-key", "x.pem"], "--tls-key needs --tls-cert"),
        (["--tls-cert", __file__], "test_signaling_server.py: no usable certificate and key"),
        (["token", "a b", "--token-secret", "x"], "argument room: 'a b': 1 to 64 letters"),
        (["token", "r"], "required: --token-secret"),
        (["--host", "256.0.0.1"], "cannot listen on 256.0.0.1:8765: this machine has no such"),
        (["--host", "203.0.113.9"], "cannot listen on 203.0.113.9:8765: this machine has no such"),
        (["--port", "65536"], "cannot listen on 127.0.0.1:65536: choose a port of at most 65535"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_short_secret_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    assert run("token", "r", "--token-secret", str(tmp_path / "secret")) == 2
    assert "a secret has at least 32 bytes: make a new file" in capsys.readouterr().err


def test_gemino_signal_is_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef" * 2)
    help_shown = CliRunner().invoke(app, ["signal", "--help"])
    assert (help_shown.exit_code, help_shown.output[:20]) == (0, "usage: gemino signal")
    wrong = CliRunner().invoke(app, ["signal", "--port", "x"])
    assert wrong.exit_code == 2
    minting = ["signal", "token", "r", "--token-secret", str(tmp_path / "secret")]
    assert CliRunner().invoke(app, minting).output.startswith("v1.")


async def test_the_server_runs_where_the_dockerfile_puts_it(tmp_path: Path) -> None:
    """What is copied into the image suffices, and what is installed there is what we need here."""
    lines = (ROOT / "signaling" / "Dockerfile").read_text("utf-8").splitlines()
    assert "COPY signaling/*.py /srv/signaling/" in lines
    (requirement,) = [line.split('"')[1] for line in lines if "pip install" in line]
    assert f'    "{requirement}",' in (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    shutil.copytree(
        ROOT / "signaling", tmp_path / "signaling", ignore=shutil.ignore_patterns("__*")
    )
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / "signaling" / name, tmp_path / "signaling")
    process, url = await start("--drain", "0", cwd=tmp_path)
    async with SignalingClient(url, "r"):
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
