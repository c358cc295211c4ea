"""Who may talk to the server: the page it served itself, opened by the link that it printed.

A page of another site could resolve its own name to 127.0.0.1 (DNS rebinding) and then talk to us
as to itself. Its requests carry that name in `Host`, so a name that is not ours is refused;
addresses are nobody's to point elsewhere. A request that changes anything also wants the `Origin`
of our own page, and the session's token, which stands in the link's fragment: browsers send that to
no server, and it is in no log.
"""

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gemino.errors import CallError

MIN_TOKEN = 16
_TOKEN_BYTES = 16
_OWN_NAMES = frozenset({"localhost"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Of every answer."""


def new_token() -> str:
    """A secret for one run of the server: 128 bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


@dataclass(frozen=True, slots=True)
class Access:
    """What a request must show.

    scheme: http or https. names: host names besides localhost under which we are known; addresses
    need not be named. token: at least 16 characters; raises CallError for fewer.
    """

    scheme: str = "http"
    names: frozenset[str] = frozenset()
    token: str = field(default_factory=new_token)

    def __post_init__(self) -> None:
        if len(self.token) < MIN_TOKEN or not self.token.isascii():
            raise CallError(
                f"a page's secret has at least {MIN_TOKEN} characters of ASCII: give a longer"
                " --token or --page-token, or leave it out"
            )

    def host_allowed(self, host: str | None) -> bool:
        """Whether `Host` is one of ours: an address, localhost, or a name we were told."""
        try:
            name = urlsplit(f"//{host or ''}").hostname or ""
        except ValueError:
            return False
        return name in _OWN_NAMES or name in self.names or _is_address(name)

    def origin_allowed(self, origin: str | None, host: str | None) -> bool:
        """Whether `Origin` is the page that we serve under this `Host`."""
        return self.host_allowed(host) and origin == f"{self.scheme}://{host}"

    def token_matches(self, authorization: str | None) -> bool:
        """Whether `Authorization` holds the token; takes the same time for every wrong one."""
        given = (authorization or "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.token.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
