"""What either peer may say, and when: the protocol of the data channel as a table.

Each peer speaks in the same order, and the two directions are independent:

    NEW ──Hello──> OPEN ──Bye──> DONE
                    │ ^
                    └─┘ every other message

- Hello is the first message, and comes once: nothing can be trusted before the versions agree.
- Bye is the last one: it says that this peer sends no more media. The call is over when nobody
  has anything left to send: each peer has said Bye, or has shown that it never sends.
- What breaks this order, seen from the other peer, is a `WireError`; from ourselves it is a bug in
  our own code, a `RuntimeError`.

`CallState` holds one such state for each peer. It has no socket and no clock.
"""

from enum import Enum

from gemino.errors import WireError
from gemino.wire import Bye, Hello, Message


class PeerState(Enum):
    """Where one peer is in its side of the conversation."""

    NEW = "new"
    OPEN = "open"
    DONE = "done"


_HELLO, _BYE, _OTHER = "Hello", "Bye", "message"
_TRANSITIONS = {
    (PeerState.NEW, _HELLO): PeerState.OPEN,
    (PeerState.OPEN, _OTHER): PeerState.OPEN,
    (PeerState.OPEN, _BYE): PeerState.DONE,
}


def _kind(message: Message) -> str:
    if isinstance(message, Hello):
        return _HELLO
    return _BYE if isinstance(message, Bye) else _OTHER


class CallState:
    """Both peers' states; every message sent or received goes through it."""

    def __init__(self) -> None:
        self.ours = PeerState.NEW
        self.theirs = PeerState.NEW

    def __repr__(self) -> str:
        return f"CallState(ours={self.ours.value}, theirs={self.theirs.value})"

    @property
    def open(self) -> bool:
        """Both peers have introduced themselves and neither has left."""
        return self.ours is PeerState.OPEN and self.theirs is PeerState.OPEN

    def send(self, message: Message) -> None:
        """Note that we say `message`; RuntimeError where we must not."""
        after = _TRANSITIONS.get((self.ours, _kind(message)))
        if after is None:
            raise RuntimeError(f"we cannot say {_kind(message)} when {self.ours.value}")
        self.ours = after

    def receive(self, message: Message) -> None:
        """Note that the other peer said `message`; WireError where it must not."""
        after = _TRANSITIONS.get((self.theirs, _kind(message)))
        if after is None:
            name = type(message).__name__
            raise WireError(f"{name} came from a peer that is {self.theirs.value}: out of order")
        self.theirs = after
