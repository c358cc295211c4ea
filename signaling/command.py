"""The command: run the rendezvous server until SIGTERM or Ctrl-C, or mint a room token."""

import argparse
import asyncio
import ipaddress
import logging
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from signaling import ice, tokens
from signaling.access import Access, Network
from signaling.limits import Limits
from signaling.rooms import is_room_name
from signaling.server import SignalingServer, StartError, max_connections

logger = logging.getLogger(__name__)

EXIT_ERROR = 2
_DRAIN_S = 5.0
_OTHER_FILES = 64
"""File descriptors that are no connections: the program's own, with some to spare."""


def main(arguments: Sequence[str], program: str) -> int:
    """Run the command; returns its exit code: 0, 2 on an error, 130 on Ctrl-C.

    program: how it was called, for the help.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if arguments and arguments[0] == "token":
            return _mint(_token_parser(program).parse_args(arguments[1:]))
        return asyncio.run(_serve(_server_parser(program).parse_args(arguments)))
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as the rest of this command does."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_ERROR, f"error: {message}; see {self.prog} --help\n")


def _server_parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="WebSocket rooms of two that relay JSON: two peers find each other.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"examples:\n  {program} --host 0.0.0.0 --port 8765\n"
        f"  {program} --token-secret FILE\n  {program} token ROOM --token-secret FILE\n\n"
        f"{program} token --help tells how to let only those in who have a token.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8765, help="0: a free one (%(default)s)")
    add("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM; read anew on SIGHUP")
    add("--tls-key", type=Path, metavar="FILE", help="its key, PEM, if not in the same file")
    add("--token-secret", type=Path, metavar="FILE", help="ask for tokens signed with this secret")
    add(
        "--ice-server",
        dest="ice_servers",
        action="append",
        default=[],
        metavar="URL",
        help="stun:HOST:PORT or turn:HOST:PORT that clients may use; they are told (repeatable)",
    )
    add(
        "--turn-secret",
        type=Path,
        metavar="FILE",
        help="what those TURN servers share with us: clients get credentials that expire",
    )
    add(
        "--origin",
        dest="origins",
        action="append",
        default=[],
        metavar="URL",
        help="pages of this origin may connect; * for all (those of this host; repeatable)",
    )
    add(
        "--trusted-proxy",
        dest="proxies",
        action="append",
        default=[],
        type=_network,
        metavar="NETWORK",
        help="believe X-Forwarded-For from here, such as 10.0.0.0/8 (nobody; repeatable)",
    )
    add(
        "--drain",
        type=_number(float, 0),
        default=_DRAIN_S,
        metavar="S",
        help="time for clients to leave after SIGTERM or Ctrl-C; a second signal ends it"
        " (%(default)g)",
    )
    _add_limits(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """An option for each of `Limits`."""
    limits, add = Limits(), parser.add_argument
    for name, meaning in (
        ("max-rooms", "rooms at one time"),
        ("max-message-bytes", "size of a message"),
        ("connections-per-address", "connections at one time from one address"),
        ("joins-per-minute", "from one address"),
        ("messages-per-second", "from one address, after a burst"),
    ):
        default = getattr(limits, name.replace("-", "_"))
        kind = _number(int, 1)
        add(f"--{name}", type=kind, default=default, metavar="N", help=f"{meaning} (%(default)d)")
    for name, meaning in (
        ("join-timeout-s", "from a connection to its join"),
        ("idle-timeout-s", "a client may be silent"),
        ("rejoin-s", "a place is kept for a lost connection"),
        ("heartbeat-s", "between two pings"),
    ):
        default = getattr(limits, name.replace("-", "_"))
        kind = _number(float, 0.1)
        add(f"--{name}", type=kind, default=default, metavar="S", help=f"{meaning} (%(default)g)")


def _token_parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{program} token",
        description="Print a token that opens one room for a while.",
        epilog="make a secret with: openssl rand -hex 32 > FILE",
    )
    add = parser.add_argument
    add("room", type=_room, help="1 to 64 letters, digits, dots, - and _")
    add("--token-secret", type=Path, required=True, metavar="FILE", help="the server's secret")
    add(
        "--life",
        type=_number(int, 1, tokens.MAX_LIFE_S),
        default=tokens.DEFAULT_LIFE_S,
        metavar="S",
        help="seconds until it expires (%(default)d)",
    )
    return parser


def _number(
    kind: type[int] | type[float], least: float, most: float = 1e9
) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be in {least:g}..{most:g}, not {text}")
        return value

    parse.__name__ = "number"  # what argparse calls it in "invalid number value"
    return parse


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write 10.0.0.7 or 10.0.0.0/8") from None


def _room(text: str) -> str:
    if not is_room_name(text):
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to 64 letters, digits, dots, - and _")
    return text


def _mint(options: argparse.Namespace) -> int:
    secret = _read_secret(options.token_secret, tokens.MIN_SECRET_BYTES)
    print(tokens.mint(secret, options.room, time.time(), options.life))
    return 0


def _read_secret(path: Path, least_bytes: int) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from None
    if len(secret) < least_bytes:
        raise StartError(
            f"{path}: a secret has at least {least_bytes} bytes: make a new file with"
            " openssl rand -hex 32"
        )
    return secret


def _secret(path: Path | None, least_bytes: int) -> bytes | None:
    return None if path is None else _read_secret(path, least_bytes)


def _ice_servers(options: argparse.Namespace) -> ice.IceServers:
    secret = _secret(options.turn_secret, ice.MIN_SECRET_BYTES)
    try:
        return ice.IceServers(tuple(options.ice_servers), secret)
    except ValueError as error:
        raise StartError(str(error)) from None


def _load_certificate(context: ssl.SSLContext, options: argparse.Namespace) -> None:
    try:
        # No pass phrase is asked for: nobody may be there to type it.
        context.load_cert_chain(options.tls_cert, options.tls_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise StartError(f"{options.tls_cert}: no usable certificate and key: {error}") from None


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        if options.tls_key is not None:
            raise StartError("--tls-key needs --tls-cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, options)
    return context


def _allow_files(limits: Limits) -> None:
    """Raise this process's limit of open files, often 1024, to what the rooms may need."""
    import resource  # there is none on Windows, which has no such limit either

    wanted = max_connections(limits) + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            logger.warning("only %d of %d files may be open: see ulimit -n", allowed, wanted)


async def _serve(options: argparse.Namespace) -> int:
    limits = replace(Limits(), **{n: getattr(options, n) for n in Limits.__slots__ if n in options})
    access = Access(
        _secret(options.token_secret, tokens.MIN_SECRET_BYTES),
        tuple(options.origins),
        tuple(options.proxies),
    )
    tls, told = _tls(options), _ice_servers(options)
    if sys.platform != "win32":
        _allow_files(limits)
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    hurried = asyncio.Event()

    def stop(exit_code: int) -> None:
        if stopped.done():
            hurried.set()
        else:
            stopped.set_result(exit_code)

    def reload() -> None:
        try:
            if tls is not None:
                _load_certificate(tls, options)
        except StartError as error:
            logger.warning("%s; the old one stays", error)

    loop.add_signal_handler(signal.SIGTERM, stop, 0)
    loop.add_signal_handler(signal.SIGINT, stop, 130)
    loop.add_signal_handler(signal.SIGHUP, reload)
    async with SignalingServer(
        options.host, options.port, limits, access=access, tls=tls, ice=told
    ) as server:
        print(f"listening on {server.url}", flush=True)
        exit_code = await stopped
        tasks = {
            asyncio.create_task(server.drain(options.drain)),
            asyncio.create_task(hurried.wait()),
        }
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        return exit_code
