"""The protocol's messages as values: text in, checked requests out. README.md has the tables."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from signaling.limits import Limits, Refused
from signaling.rooms import is_room_name


@dataclass(frozen=True, slots=True)
class Join:
    """token, rejoin: as sent, unchecked. create: make the room where nobody is in it."""

    room: str
    token: object = None
    rejoin: object = None
    create: bool = True


@dataclass(frozen=True, slots=True)
class Relay:
    """Something for the other peer. text: the message it gets. last: the sender leaves ("bye")."""

    text: str
    last: bool = False


class Ping:
    """Are you there?"""


def serialize(kind: str, **fields: Any) -> str:
    """A message to a client."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def parse_join(text: str) -> Join:
    """The first message of a client; raises `Refused`."""
    message = _object(text)
    if message.get("type") != "join":
        raise Refused("join-first", 'the first message must be {"type": "join", "room": NAME}')
    room, create = message.get("room"), message.get("create", True)
    if not isinstance(room, str) or not is_room_name(room):
        raise Refused("bad-room", "a room's name is 1..64 letters, digits, dots, - and _")
    if not isinstance(create, bool):
        raise Refused("bad-message", '"create" must be true or false')
    return Join(room, message.get("token"), message.get("rejoin"), create)


def parse(text: str, limits: Limits) -> Relay | Ping:
    """Any later message of a client; raises `Refused`.

    What is relayed is written anew, so that the other peer gets what was checked here and not, say,
    a second "type" that its own parser prefers.
    """
    message = _object(text)
    kind = message.get("type")
    if kind == "ping":
        return Ping()
    if kind not in ("message", "bye") or (kind == "message" and "data" not in message):
        raise Refused("bad-message", 'expected {"type": "message", "data": ...}, "bye" or "ping"')
    fields = {"type": kind, "data": message["data"]} if "data" in message else {"type": kind}
    try:
        # Numbers such as 1e999 and lone surrogates can be read, but have no form to be sent in.
        text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (ValueError, RecursionError):
        raise Refused("bad-message", "a message cannot be written as JSON in UTF-8") from None
    if size > limits.max_message_bytes:  # 1e15 has grown to 1000000000000000.0
        raise Refused("bad-message", f"a message is larger than {limits.max_message_bytes} bytes")
    return Relay(text, last=kind == "bye")


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refused("bad-message", "a message is no JSON") from None
    if not isinstance(value, dict):
        raise Refused("bad-message", "a message is no JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    """NaN and the infinities, which Python reads and browsers refuse."""
    raise ValueError(name)
