"""STUN and TURN servers that clients are told of when they join, with credentials that expire.

A TURN server relays for whoever has a user name and a password, and pays for the traffic. So that
neither has to be given away for good, both are made anew for each join (draft-uberti-behave-turn-
rest-00, what coturn calls `use-auth-secret`): the name is a Unix time after which it is worth
nothing, the password an HMAC-SHA1 of the name under a secret that only the two servers share.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any

MAX_SERVERS = 8
MIN_SECRET_BYTES = 16
LIFE_S = 6 * 3600
_DEFAULT_PORTS = {"stun": 3478, "turn": 3478, "turns": 5349}
_URL = re.compile(
    r"(?P<scheme>stun|turns?):(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class IceUrl:
    """The parts of stun:HOST[:PORT] or turn(s):HOST[:PORT][?transport=udp|tcp] (RFC 7064, 7065).

    scheme: stun, turn or turns. host: a name or an address, without brackets. transport: between
    client and server.
    """

    scheme: str
    host: str
    port: int
    transport: str


def parse_url(text: str) -> IceUrl:
    """The parts of a server's URL; raises ValueError, which says what is expected."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text[:80]!r} is no ICE server: write stun:HOST:PORT or"
            " turn:HOST:PORT?transport=udp (or tcp)"
        )
    scheme, transport = found["scheme"], found["transport"]
    if scheme == "stun" and transport is not None:
        raise ValueError(f"{text[:80]!r}: a stun: URL names no transport")
    if scheme == "turns" and transport == "udp":
        raise ValueError(f"{text[:80]!r}: turns: runs over tcp")
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        raise ValueError(f"{text[:80]!r}: a port is in 1..65535")
    default = "tcp" if scheme == "turns" else "udp"
    return IceUrl(scheme, found["host"].strip("[]"), port, transport or default)


def credentials(secret: bytes, now: float, life_s: int = LIFE_S) -> tuple[str, str]:
    """A TURN user name and password that expire `life_s` after `now` (Unix time)."""
    name = str(int(now) + life_s)
    digest = hmac.new(secret, name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class IceServers:
    """What the server's owner lets clients use. secret: shared with the TURN servers among `urls`.

    Raises ValueError for what is no URL, or for a TURN server without a secret.
    """

    urls: tuple[str, ...] = ()
    secret: bytes | None = None
    life_s: int = LIFE_S

    def __post_init__(self) -> None:
        if len(self.urls) > MAX_SERVERS:
            raise ValueError(f"{len(self.urls)} ICE servers are too many: name {MAX_SERVERS}")
        relays = [url for url in self.urls if parse_url(url).scheme != "stun"]
        if relays and self.secret is None:
            raise ValueError(f"{relays[0]} needs the secret that it shares: --turn-secret FILE")

    def describe(self, now: float) -> list[dict[str, Any]]:
        """As browsers take them (RTCIceServer); `now` is Unix time."""
        described: list[dict[str, Any]] = []
        for url in self.urls:
            entry: dict[str, Any] = {"urls": [url]}
            if self.secret is not None and not url.startswith("stun:"):
                entry["username"], entry["credential"] = credentials(self.secret, now, self.life_s)
            described.append(entry)
        return described
