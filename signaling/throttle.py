"""How much one address may ask for: connections at once, joins a minute, messages a second.

Token buckets: each address has as many joins and messages left as its buckets hold, and they fill
up again with time. The table of addresses is bounded; an address that has nothing open and full
buckets is as good as unknown, and the one that was heard of longest ago is forgotten first.
"""

from dataclasses import dataclass

from signaling.limits import Limits, Refused

_MAX_ADDRESSES = 10_000
_MESSAGE_BURST_S = 10


@dataclass(slots=True)
class _Account:
    connections: int
    joins: float
    messages: float
    at: float


class Throttle:
    """The accounts of all addresses. `now` is time.monotonic()."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: dict[str, _Account] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def connect(self, address: str, now: float) -> None:
        """Count a connection that opens; raises `Refused` where there are too many already."""
        account = self._account(address, now)
        if account.connections >= self._limits.connections_per_address:
            raise Refused("too-many-connections", "too many connections from this address")
        account.connections += 1

    def disconnect(self, address: str) -> None:
        """Count a connection that ends; each `connect` that was let in has one."""
        account = self._accounts.get(address)
        if account is not None and account.connections > 0:
            account.connections -= 1

    def join(self, address: str, now: float) -> None:
        """Count an attempt to join, whatever comes of it; raises `Refused`."""
        account = self._account(address, now)
        if account.joins < 1:
            raise Refused("too-many-joins", "too many joins from this address: wait a minute")
        account.joins -= 1

    def message(self, address: str, now: float) -> None:
        """Count a message; raises `Refused`."""
        account = self._account(address, now)
        if account.messages < 1:
            raise Refused("too-many-messages", "too many messages from this address: send fewer")
        account.messages -= 1

    def _account(self, address: str, now: float) -> _Account:
        limits = self._limits
        most = limits.messages_per_second * _MESSAGE_BURST_S
        account = self._accounts.pop(address, None)
        if account is None:
            account = _Account(0, limits.joins_per_minute, most, now)
            self._forget()
        passed_s = max(now - account.at, 0.0)
        rate = limits.joins_per_minute / 60
        account.joins = min(account.joins + passed_s * rate, limits.joins_per_minute)
        account.messages = min(account.messages + passed_s * limits.messages_per_second, most)
        account.at = now
        self._accounts[address] = account  # at the end: the dictionary's first is the stalest
        return account

    def _forget(self) -> None:
        """Make room for one more account, where that is needed and one has nothing open."""
        if len(self._accounts) >= _MAX_ADDRESSES:
            idle = (name for name, one in self._accounts.items() if not one.connections)
            stalest = next(idle, None)
            if stalest is not None:
                del self._accounts[stalest]
