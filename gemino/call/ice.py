"""Which STUN and TURN servers help two peers to reach each other, and what may be believed of it.

Servers come from the user's options, and from the signalling server, which may hand out some with
credentials that expire (signaling/README.md). The latter is a stranger's text: bounded, and checked
like everything else from the network. No socket here: `candidates` talks to them.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gemino.errors import CallError
from signaling.ice import MAX_SERVERS, IceUrl, credentials, parse_url

logger = logging.getLogger(__name__)

IcePolicy = Literal["all", "relay"]
NO_RELAY = "--ice-policy relay needs a TURN server: --ice-server turn:HOST:PORT"
_MAX_TEXT = 512


@dataclass(frozen=True, slots=True)
class IceServer:
    """One STUN or TURN server; a TURN server needs both credentials."""

    url: str
    username: str | None = None
    credential: str | None = None

    def __post_init__(self) -> None:
        try:
            scheme = parse_url(self.url).scheme
        except ValueError as error:
            raise CallError(str(error)) from None
        if scheme != "stun" and (self.username is None or self.credential is None):
            raise CallError(
                f"{self.url} needs credentials: --turn-secret FILE, or --turn-user and"
                " --turn-password"
            )

    def __repr__(self) -> str:
        return f"IceServer({self.url})"

    @property
    def parts(self) -> IceUrl:
        """The URL's parts."""
        return parse_url(self.url)


@dataclass(frozen=True, slots=True)
class IceOptions:
    """servers: to be asked beside those that the signalling server names. policy: "relay" talks
    through TURN servers alone, so that the other peer does not learn our addresses."""

    servers: tuple[IceServer, ...] = ()
    policy: IcePolicy = "all"

    def __post_init__(self) -> None:
        if len(self.servers) > MAX_SERVERS:
            raise CallError(f"{len(self.servers)} ICE servers are too many: name {MAX_SERVERS}")
        if self.policy not in get_args(IcePolicy):
            raise CallError(f"ice-policy must be all or relay, not {self.policy!r}")


def from_urls(
    urls: Sequence[str],
    *,
    secret: bytes | None = None,
    user: str | None = None,
    password: str | None = None,
    policy: IcePolicy = "all",
) -> IceOptions:
    """Options as a user writes them; raises CallError.

    secret: shared with the TURN servers, for credentials that expire. user, password: lasting ones.
    """
    if secret is not None and (user is not None or password is not None):
        raise CallError("give --turn-secret, or --turn-user and --turn-password, not both")
    if secret is not None:
        user, password = credentials(secret, time.time())
    servers = []
    for url in urls:
        turns = not url.startswith("stun:")
        servers.append(IceServer(url, user if turns else None, password if turns else None))
    return IceOptions(tuple(servers), policy)


def from_joined(told: object) -> tuple[IceServer, ...]:
    """The servers that a signalling server names in its `joined`; what cannot be used is left out.

    told: a list of objects as browsers take them, with `urls`, `username` and `credential`.
    """
    if not isinstance(told, list):
        return ()
    servers: list[IceServer] = []
    for entry in told[:MAX_SERVERS]:
        if not isinstance(entry, Mapping):
            continue
        urls = entry.get("urls")
        for url in ([urls] if isinstance(urls, str) else urls if isinstance(urls, list) else [])[
            :MAX_SERVERS
        ]:
            try:
                servers.append(IceServer(_text(url) or "", *map(_text, _credentials(entry))))
            except CallError as error:
                logger.warning("left out an ICE server that the signaling server names: %s", error)
    return tuple(servers[:MAX_SERVERS])


def _credentials(entry: Mapping[str, Any]) -> tuple[object, object]:
    return entry.get("username"), entry.get("credential")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT else None
