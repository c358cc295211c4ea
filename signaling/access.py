"""Who is talking: the client's address behind proxies, and the page that opened a WebSocket.

Headers are claims. `X-Forwarded-For` is believed only as far as it was written by proxies that the
server's owner has named: from the right, each trusted hop vouches for the one before it, and the
first address that is not a trusted proxy is the client. `Origin` is set by browsers and cannot be
changed by a page; another program may say anything, so a missing one proves nothing and is let in.
No other header is looked at but `Host`, to which an origin is compared.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ANY_ORIGIN = "*"
_CLIENT_NETWORK_BITS = 64
"""Of an IPv6 address: a client usually has that many to itself and may change the rest at will."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whom the server lets in.

    secret: where there is one, a join needs a token signed with it (tokens.py).
    origins: of pages that may connect, such as https://call.example.org; "*" allows all, none at
    all allows those that come from this very host. trusted_proxies: whose X-Forwarded-For counts.
    """

    secret: bytes | None = None
    origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()


def client_address(
    remote: str | None, forwarded_for: Sequence[str], trusted: Sequence[Network]
) -> str:
    """The address that limits are counted for, an IPv6 one cut to its /64.

    remote: the other end of the connection. forwarded_for: values of all `X-Forwarded-For` headers.
    """
    here = _parse(remote or "")
    if here is None:
        return remote or ""
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    while hops and _is_within(here, trusted):
        before = _parse(hops.pop())
        if before is None:  # what a proxy cannot have meant: its own address has to do
            break
        here = before
    if isinstance(here, ipaddress.IPv6Address):
        network = ipaddress.ip_network((here, _CLIENT_NETWORK_BITS), strict=False)
        return str(network.network_address)
    return str(here)


def origin_allowed(origin: str | None, host: str | None, origins: Sequence[str]) -> bool:
    """Whether a request with these `Origin` and `Host` headers may open a WebSocket."""
    if origin is None or ANY_ORIGIN in origins:
        return True
    if origins:
        return origin.lower() in {allowed.lower().rstrip("/") for allowed in origins}
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == (host or "").lower()
    except ValueError:  # an unclosed bracket of an IPv6 address
        return False


def _parse(text: str) -> _Address | None:
    """An address as proxies write it, with a port or without; IPv4 in IPv6 becomes IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_within(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
