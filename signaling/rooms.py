"""Who is in which room: the part that decides, without a socket or a clock.

A room exists while somebody is in it. Nobody is asked for a password: whoever knows a room's name
may enter while there is a place, so names that must stay private have to be hard to guess.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

ROOM_PLACES = 2
_ROOM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_JOIN_WINDOW_S = 60.0
_MAX_ADDRESSES = 10_000

Peer = TypeVar("Peer")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost.

    max_message_bytes: of one WebSocket message, 64 KiB: a session description has 2-10 kB.
    max_rooms: at one time. joins_per_minute: from one address, refused attempts included.
    join_timeout_s: from the connection to its join. idle_timeout_s: without a message from a
    client; a call that is up says little here, so this is long. heartbeat_s: between two pings;
    a client that does not answer within half of it is dropped.
    """

    max_message_bytes: int = 64 * 1024
    max_rooms: int = 1000
    joins_per_minute: int = 120
    join_timeout_s: float = 10.0
    idle_timeout_s: float = 3600.0
    heartbeat_s: float = 15.0


class Refused(Exception):  # noqa: N818 (an answer to a client, not a fault of the server)
    """A client asks for what it cannot have. code: for programs; the message: for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Rooms(Generic[Peer]):
    """Rooms of two. A peer is any hashable object and in at most one room."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rooms: dict[str, list[Peer]] = {}
        self._joins: dict[str, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def peers(self) -> int:
        """How many peers are in all rooms together."""
        return sum(len(peers) for peers in self._rooms.values())

    def join(self, name: object, peer: Peer, address: str, now: float) -> list[Peer]:
        """Let `peer` into the room `name` and return who was there; raises `Refused`."""
        self._count_join(address, now)
        if not isinstance(name, str) or not _ROOM_NAME.fullmatch(name):
            raise Refused("bad-room", "a room's name is 1..64 letters, digits, dots, - and _")
        room = self._rooms.get(name)
        if room is None and len(self._rooms) >= self._limits.max_rooms:
            raise Refused("too-many-rooms", "the server has no room left: try again later")
        if room is not None and len(room) >= ROOM_PLACES:
            raise Refused("room-full", f"room {name} already holds {ROOM_PLACES} peers")
        others = list(room or ())
        self._rooms[name] = [*others, peer]
        return others

    def others(self, name: str, peer: Peer) -> list[Peer]:
        """Who else is in the room."""
        return [other for other in self._rooms.get(name, ()) if other is not peer]

    def leave(self, name: str, peer: Peer) -> list[Peer]:
        """Take `peer` out and return who stays; an empty room is forgotten."""
        staying = self.others(name, peer)
        if staying:
            self._rooms[name] = staying
        else:
            self._rooms.pop(name, None)
        return staying

    def _count_join(self, address: str, now: float) -> None:
        joins = self._joins.pop(address, deque())
        while joins and joins[0] <= now - _JOIN_WINDOW_S:
            joins.popleft()
        self._joins[address] = joins  # again at the end: the dictionary's first is the stalest
        if len(self._joins) > _MAX_ADDRESSES:
            self._joins.pop(next(iter(self._joins)))
        if len(joins) >= self._limits.joins_per_minute:
            raise Refused("too-many-joins", "too many joins from this address: wait a minute")
        joins.append(now)
