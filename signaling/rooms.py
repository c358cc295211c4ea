"""Who is in which room: the part that decides, without a socket or a clock.

A room has two places and exists while one of them is taken. A place is taken by a join and given up
by leaving. A connection that is lost gives nothing up at once: the place is *kept* for a while, and
what the other peer says in the meantime waits in it. Only who shows the place's secret, told to its
owner when it joined, gets a kept place back, so that nobody else can slip into a call whose network
has failed for a moment. The secret also takes over a place whose old connection still seems to
live, because its owner often notices a loss before the server does.
"""

import hmac
import re
import secrets
from collections import deque

from signaling.limits import Limits, Refused

ROOM_PLACES = 2
_ROOM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_SECRET_BYTES = 24


class Place:
    """One of a room's two places: whose it is, and what waits for its owner.

    secret: shown to take the place back. lost_at: when the connection was lost, None while it is
    there.
    """

    __slots__ = ("_waiting", "_waiting_bytes", "lost_at", "room", "secret")

    def __init__(self, room: str) -> None:
        self.room = room
        self.secret = secrets.token_urlsafe(_SECRET_BYTES)
        self.lost_at: float | None = None
        self._waiting: deque[str] = deque()
        self._waiting_bytes = 0

    def put(self, text: str, max_bytes: int) -> bool:
        """Let `text` wait for the owner; False where others wait and `max_bytes` are exceeded."""
        size = len(text.encode())
        if self._waiting and self._waiting_bytes + size > max_bytes:
            return False
        self._waiting.append(text)
        self._waiting_bytes += size
        return True

    def take(self) -> str | None:
        """What has waited longest, or None."""
        if not self._waiting:
            return None
        text = self._waiting.popleft()
        self._waiting_bytes -= len(text.encode())
        return text

    def put_back(self, text: str) -> None:
        """What was taken and could not be sent waits again, before everything else."""
        self._waiting.appendleft(text)
        self._waiting_bytes += len(text.encode())


class Rooms:
    """All rooms of a server. `now` is time.monotonic()."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rooms: dict[str, list[Place]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def count_places(self) -> int:
        """How many places are taken or kept in all rooms together."""
        return sum(len(room) for room in self._rooms.values())

    def exists(self, name: str) -> bool:
        """Whether a place is taken or kept in the room `name`."""
        return name in self._rooms

    def join(self, name: str, now: float, *, create: bool = True) -> Place:
        """Take a place in the room `name`; raises `Refused`. create: where nobody is in it."""
        room = self._rooms.get(name, [])
        if not room and not create:
            raise Refused("unknown-room", f"nobody is in room {name}: is the name right?")
        if not room and len(self._rooms) >= self._limits.max_rooms:
            raise Refused("too-many-rooms", "the server has no room left: try again later")
        if len(room) >= ROOM_PLACES:
            held = f"room {name} already holds {ROOM_PLACES} peers"
            raise Refused("room-full", held + _kept(room, now, self._limits.rejoin_s))
        place = Place(name)
        self._rooms[name] = [*room, place]
        return place

    def rejoin(self, name: str, secret: object) -> Place:
        """Take back the place in room `name` that `secret` belongs to; raises `Refused`."""
        claim = secret.encode("utf-8", "replace") if isinstance(secret, str) else b""
        for place in self._rooms.get(name, ()):
            if hmac.compare_digest(place.secret.encode(), claim):
                place.lost_at = None
                return place
        raise Refused("bad-rejoin", f"no place in room {name} is kept for you: join it afresh")

    def others(self, place: Place) -> list[Place]:
        """The other place of its room, if that is taken or kept."""
        return [other for other in self._rooms.get(place.room, ()) if other is not place]

    def leave(self, place: Place) -> list[Place]:
        """Give `place` up and return who stays; an empty room is forgotten."""
        staying = self.others(place)
        if staying:
            self._rooms[place.room] = staying
        else:
            self._rooms.pop(place.room, None)
        return staying


def is_room_name(name: object) -> bool:
    """Whether `name` is 1 to 64 letters, digits, dots, hyphens and underscores."""
    return isinstance(name, str) and _ROOM_NAME.fullmatch(name) is not None


def _kept(room: list[Place], now: float, rejoin_s: float) -> str:
    lost = [place.lost_at for place in room if place.lost_at is not None]
    if not lost:
        return ""
    left_s = max(min(lost) + rejoin_s - now, 0.0)
    return f", one of which has lost its connection: try again in {left_s:.0f} s"
