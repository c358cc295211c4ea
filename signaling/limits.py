"""What one client may cost, and the word for an answer that is no."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the server in one place; all of them are above 0.

    max_message_bytes: of one WebSocket message, 64 KiB: a session description has 2-10 kB.
    max_backlog_bytes: what waits for a client that reads slowly or has lost its connection.
    max_rooms: at one time; connections are limited to what fills them, and some that wait.
    connections_per_address: at one time. joins_per_minute: new connections from one address,
    refused ones included. messages_per_second: from one address, after a burst of ten times that.
    join_timeout_s: from the TCP connection to the request, and from there to the join.
    idle_timeout_s: without a message from a client; a call that is up says little here, so this is
    long. rejoin_s: how long a place is kept for a client whose connection was lost.
    heartbeat_s: between two pings; a client that does not answer within half of it is dropped.
    """

    max_message_bytes: int = 64 * 1024
    max_backlog_bytes: int = 256 * 1024
    max_rooms: int = 1000
    connections_per_address: int = 64
    joins_per_minute: int = 120
    messages_per_second: int = 50
    join_timeout_s: float = 10.0
    idle_timeout_s: float = 3600.0
    rejoin_s: float = 20.0
    heartbeat_s: float = 15.0


class Refused(Exception):  # noqa: N818 (an answer to a client, not a fault of the server)
    """A client asks for what it cannot have. code: for programs; the message: for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
