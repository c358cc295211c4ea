"""The options about the way to the other side: who meets where, STUN and TURN servers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from gemino.errors import CallError

if TYPE_CHECKING:
    from gemino.call.ice import IceOptions
    from gemino.cli.meeting import OwnServer
    from signaling import IceServers

_MAX_SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the two peers find each other."""

    heading: ClassVar[str] = "Meeting the other side"

    loopback_clip: Annotated[
        str | None,
        typer.Option(
            "--loopback",
            metavar="[CLIP]",
            help="Call between two processes here, which sends CLIP; without one, --test-pattern.",
        ),
    ] = None
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="[ROOM]",
            help="Be one peer and the signalling server: prints what the other side runs.",
        ),
    ] = None
    peer: Annotated[
        str | None, typer.Option("--peer", metavar="ROOM", help="Be one peer, in this room.")
    ] = None
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Signalling server, ws://HOST:PORT.")
    ] = None
    token: Annotated[str | None, typer.Option(help="For a server that asks for room tokens.")] = (
        None
    )
    host: Annotated[
        str | None,
        typer.Option(help="Address of --listen's server; 0.0.0.0, the default: all of IPv4."),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of --listen's server (8765) or --loopback's (a free one); 0: a free one.",
        ),
    ] = None
    local: Annotated[
        bool,
        typer.Option("--local", help="Both peers are on this machine: use 127.0.0.1 alone."),
    ] = False

    @property
    def is_loopback(self) -> bool:
        return self.loopback_clip is not None

    def check(self) -> None:
        """Raise CallError unless there is one way to meet the other peer, and nothing else."""
        if sum(way is not None for way in (self.loopback_clip, self.peer, self.listen)) != 1:
            raise CallError("give one of --listen, --peer ROOM and --loopback CLIP; see --help")
        if self.peer is not None and self.server is None:
            raise CallError(
                "--peer needs --server ws://HOST:PORT; gemino signal runs one, --listen brings one"
            )
        if self.peer is None and (self.server is not None or self.token is not None):
            way = "--loopback" if self.listen is None else "--listen"
            raise CallError(f"{way} is the server itself: leave --server and --token out")
        if self.peer is not None and (self.host is not None or self.port is not None):
            raise CallError("--peer goes to --server URL: leave --host and --port out")
        if self.is_loopback and self.host is not None:
            raise CallError("--loopback stays on 127.0.0.1: leave --host out")

    def room(self) -> str:
        """The one that is named, or a random one."""
        from gemino.cli.meeting import random_room

        return self.peer or self.listen or random_room()

    def own_server(self, told: "IceServers | None") -> "OwnServer | None":
        """What --listen listens as. told: the ICE servers that it tells the other side."""
        from gemino.cli.meeting import own_server

        if self.listen is None:
            return None
        return own_server(self.host, self.port, local=self.local, told=told)


@dataclass(frozen=True, slots=True)
class Ice:
    """The way through a NAT or a firewall."""

    heading: ClassVar[str] = "Behind a NAT or a firewall"

    servers: Annotated[
        list[str] | None,
        typer.Option(
            "--ice-server",
            metavar="URL",
            help="stun:HOST:PORT or turn:HOST:PORT, a way to the other side; repeatable.",
        ),
    ] = None
    policy: Annotated[
        Literal["all", "relay"],
        typer.Option("--ice-policy", help="relay: through TURN servers alone, our address hidden."),
    ] = "all"
    turn_secret: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Secret shared with TURN servers, which credentials are made of."
        ),
    ] = None
    turn_user: Annotated[
        str | None, typer.Option(help="For TURN servers, with --turn-password.")
    ] = None
    turn_password: Annotated[
        str | None, typer.Option(help="For TURN servers, with --turn-user.")
    ] = None

    def options(self, *, loopback: bool, listens: bool = False) -> "IceOptions":
        """What they say; raises CallError.

        loopback: both peers are processes of ours. listens: the signalling server is ours, too, and
        will name no TURN server that we do not.
        """
        from gemino.call.ice import NO_RELAY, from_urls

        if loopback and (self.servers or self.policy != "all"):
            raise CallError(
                "--loopback stays on this machine: leave --ice-server and --ice-policy out"
            )
        relays = [url for url in self.servers or [] if not url.startswith("stun:")]
        if listens and self.policy == "relay" and not relays:
            raise CallError(NO_RELAY)
        if not self.servers and (self.turn_secret or self.turn_user or self.turn_password):
            raise CallError(
                "credentials are for TURN servers: name one with --ice-server turn:HOST"
            )
        secret = None if self.turn_secret is None else read_secret(self.turn_secret)
        user, password = self.turn_user, self.turn_password
        return from_urls(
            self.servers or [], secret=secret, user=user, password=password, policy=self.policy
        )

    def told(self) -> "IceServers | None":
        """What a signalling server of our own tells the other side: nothing that lasts."""
        from signaling import IceServers

        secret = None if self.turn_secret is None else read_secret(self.turn_secret)
        urls = self.servers or []
        usable = [url for url in urls if secret is not None or url.startswith("stun:")]
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
