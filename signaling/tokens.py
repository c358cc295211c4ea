"""Room tokens: leave to enter one room until a certain second, signed with the server's secret.

    v1.EXPIRY.SIGNATURE

EXPIRY is Unix time in decimal, SIGNATURE is base64url of an HMAC-SHA256 (RFC 2104, RFC 4648).

The room's name is signed but not written into the token, so a token tells nobody where it leads and
opens no other room. Both peers of a room may use the same one. Nothing is stored: whoever has the
secret mints, the server only checks, and a token that has got into wrong hands ends by its expiry.
"""

import base64
import hashlib
import hmac
import re

from signaling.limits import Refused

MIN_SECRET_BYTES = 32
MAX_LIFE_S = 24 * 3600
DEFAULT_LIFE_S = 600
_TOKEN = re.compile(r"v1\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})", re.ASCII)


def mint(secret: bytes, room: str, now: float, life_s: int = DEFAULT_LIFE_S) -> str:
    """A token for `room` that expires `life_s` seconds after `now` (Unix time).

    Raises ValueError for a life that is not in 1..MAX_LIFE_S.
    """
    if not 1 <= life_s <= MAX_LIFE_S:
        raise ValueError(f"a token lives 1..{MAX_LIFE_S} s, not {life_s}")
    expiry = str(int(now) + life_s)
    return f"v1.{expiry}.{_signature(secret, room, expiry)}"


def check(secret: bytes, room: str, token: object, now: float) -> None:
    """Raise `Refused` unless `token` opens `room` at `now` (Unix time).

    The signature is compared in constant time, and before the expiry is looked at, so that a forger
    learns nothing. An expiry beyond the longest life is refused as well: such a token was never
    meant to be short-lived.
    """
    if token is None:
        raise Refused("token-required", "this server asks for a room token: get one from its owner")
    found = _TOKEN.fullmatch(token) if isinstance(token, str) else None
    if found is None or not hmac.compare_digest(
        _signature(secret, room, found[1]).encode(), found[2].encode()
    ):
        raise Refused("bad-token", "the token does not open this room: ask for another one")
    left_s = int(found[1]) - now
    if left_s <= 0:
        raise Refused("expired-token", "the token has expired: ask for a new one")
    if left_s > MAX_LIFE_S:
        raise Refused("bad-token", f"the token would live longer than {MAX_LIFE_S} s")


def _signature(secret: bytes, room: str, expiry: str) -> str:
    # A room's name has no line feed, so no two (room, expiry) give the same text.
    text = f"signaling room token v1\n{room}\n{expiry}".encode("utf-8", "surrogatepass")
    digest = hmac.new(secret, text, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
