"""The options about STUN and TURN servers."""

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
