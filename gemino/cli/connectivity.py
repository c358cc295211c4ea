"""The options about the way to the other side: who meets where, STUN and TURN servers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemino.errors import CallError

if TYPE_CHECKING:
    from gemino.call.ice import IceOptions
    from signaling import IceServers

_MAX_SECRET_BYTES = 4096

Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--ice-server",
        metavar="URL",
        help="stun:HOST:PORT or turn:HOST:PORT, a way to the other side; repeatable.",
    ),
]
TurnSecret = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What we share with TURN servers: makes our credentials."),
]
TurnUser = Annotated[str | None, typer.Option(help="For TURN servers, with --turn-password.")]
TurnPassword = Annotated[str | None, typer.Option(help="For TURN servers, with --turn-user.")]
Policy = Annotated[
    Literal["all", "relay"],
    typer.Option("--ice-policy", help="relay: through TURN servers alone, our address hidden."),
]


def check_way(
    loopback_clip: str | None,
    peer: str | None,
    listen: str | None,
    server: str | None,
    token: str | None,
) -> None:
    """Raise CallError unless there is one way to meet the other peer."""
    if sum(way is not None for way in (loopback_clip, peer, listen)) != 1:
        raise CallError("give one of --listen, --peer ROOM and --loopback CLIP; see --help")
    if peer is not None and server is None:
        raise CallError(
            "--peer needs --server ws://HOST:PORT/ws; gemino signal runs one, --listen brings one"
        )
    if peer is None and (server is not None or token is not None):
        way = "--loopback" if listen is None else "--listen"
        raise CallError(f"{way} is the server itself: leave --server and --token out")


def check_address(
    loopback_clip: str | None, peer: str | None, host: str | None, port: int | None
) -> None:
    """Raise CallError where an address is given that nobody would listen at."""
    if peer is not None and (host is not None or port is not None):
        raise CallError("--peer goes to --server URL: leave --host and --port out")
    if loopback_clip is not None and host is not None:
        raise CallError("--loopback stays on 127.0.0.1: leave --host out")


def options(
    urls: list[str] | None,
    secret_file: Path | None,
    user: str | None,
    password: str | None,
    policy: Literal["all", "relay"],
    *,
    loopback: bool,
) -> "IceOptions":
    """What the options say; raises CallError. loopback: both peers are processes of ours."""
    from gemino.call.ice import from_urls

    if loopback and (urls or policy != "all"):
        raise CallError("--loopback stays on this machine: leave --ice-server and --ice-policy out")
    if not urls and (secret_file or user or password):
        raise CallError("credentials are for TURN servers: name one with --ice-server turn:HOST")
    secret = None if secret_file is None else read_secret(secret_file)
    return from_urls(urls or [], secret=secret, user=user, password=password, policy=policy)


def told(urls: list[str] | None, secret_file: Path | None) -> "IceServers | None":
    """What a signalling server of our own tells the other side: nothing that lasts."""
    from signaling import IceServers

    secret = None if secret_file is None else read_secret(secret_file)
    usable = [url for url in urls or [] if secret is not None or url.startswith("stun:")]
    return IceServers(tuple(usable), secret) if usable else None


def read_secret(path: Path) -> bytes:
    """A secret from a file, without white space around it; raises CallError."""
    try:
        with path.open("rb") as file:
            secret = file.read(_MAX_SECRET_BYTES).strip()
    except OSError as error:
        raise CallError(f"{path}: cannot be read ({error.strerror})") from None
    if not secret:
        raise CallError(f"{path}: is empty; put the TURN server's static-auth-secret there")
    return secret
