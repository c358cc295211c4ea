"""How two people find each other: a server for the time of a call, and what to tell the other."""

import contextlib
import secrets
import shlex
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aioice.ice
import typer

from gemino.call.options import MediaOptions, PeerOptions
from gemino.errors import CallError
from signaling import IceServers, SignalingServer, StartError

_ALL_IPV4, _ALL_IPV6 = "0.0.0.0", "::"  # noqa: S104 - that the other side gets here is the point
_HERE = "127.0.0.1"
DEFAULT_PORT = 8765
_LOCAL = {_ALL_IPV4: _HERE, _ALL_IPV6: "::1"}
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that are taken for one another
_FAR_AWAY = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # RFC 5737, RFC 3849


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A signalling server of our own. port: 0 for a free one. told: ICE servers for both sides."""

    host: str
    port: int
    told: IceServers | None = None


def own_server(
    host: str | None, port: int | None, *, local: bool, told: IceServers | None = None
) -> OwnServer:
    """Where --listen listens: everywhere, unless told otherwise or both peers are here."""
    place = host or (_HERE if local else _ALL_IPV4)
    return OwnServer(place, DEFAULT_PORT if port is None else port, told)


def random_room() -> str:
    """A name that nobody guesses, and that can be read out: 12 letters and digits, 59 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))


@contextlib.asynccontextmanager
async def hosted(options: PeerOptions, own: OwnServer) -> AsyncIterator[PeerOptions]:
    """Run our server for a while; the options for a call through it. Says what the other side runs.

    Raises CallError where it cannot listen.
    """
    try:
        async with SignalingServer(own.host, own.port, ice=own.told) as server:
            first, *others = [_url(address, server.port) for address in addresses(own.host)]
            lines = [f"listening on {server.url}; the other side runs:", ""]
            lines += [f"  {invitation(options, first)}", ""]
            if others:
                lines.append(f"or, where that address cannot be reached: {', '.join(others)}")
            typer.echo("\n".join(lines), err=True)
            here = _LOCAL.get(own.host, own.host)
            yield replace(options, server_url=_url(here, server.port))
    except StartError as error:
        raise CallError(str(error)) from None


def invitation(options: PeerOptions, url: str) -> str:
    """The command for the other side of a call with `options`, through the server at `url`."""
    media = options.media
    words = ["gemino-call", "--peer", options.room, "--server", url]
    words += ["--token", options.token] if options.token is not None else []
    words += ["--local"] if options.local else []
    words += ["--size", str(media.size_px)] if media.size_px != MediaOptions().size_px else []
    words += ["--audio-kbps", f"{media.sound.kbps:g}"] if media.sound.kbps else []
    words += ["--lr-codec", media.lr_codec] if media.lr_codec != "auto" else []
    words += ["--camera"] if options.receives else []
    words += ["-o", "received.mp4"] if options.source is not None else []
    return shlex.join(words)


def addresses(host: str) -> list[str]:
    """This machine's addresses under which a server at `host` is found, the likeliest first."""
    if host not in (_ALL_IPV4, _ALL_IPV6):
        return [host]
    is_ipv6 = host == _ALL_IPV6
    first = _towards_others(socket.AF_INET6 if is_ipv6 else socket.AF_INET)
    found = aioice.ice.get_host_addresses(use_ipv4=not is_ipv6, use_ipv6=is_ipv6)
    return list(dict.fromkeys([*first, *found])) or [_LOCAL[host]]


def _towards_others(family: socket.AddressFamily) -> list[str]:
    """Our address on the way to the internet; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_FAR_AWAY[family], 9))
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


def _url(address: str, port: int) -> str:
    return f"ws://[{address}]:{port}/ws" if ":" in address else f"ws://{address}:{port}/ws"
