"""A call with a plain WebRTC peer: a browser or any other program that is not Gemino.

It gets the source as ordinary VP8, as large as the rate pays for without blocks, because its viewer
enlarges what comes; no reference goes with it. Its camera, whatever its size and shape, is shown
whole and enlarged classically. Nobody says Hello, when a picture was taken, or Bye: times are those
of arrival, the reports are RTCP's, and the end is the connection's, or the signalling server's word
that the other peer has left.
"""

import logging

from gemino.call.incoming import Incoming
from gemino.call.outgoing import Outgoing
from gemino.errors import CallError, GeminoError
from gemino.wire import Message

logger = logging.getLogger(__name__)

_SILENCE_S = 10.0
"""A peer from which not even RTCP comes for so long is gone."""
_AFTER_LEAVING_S = 1.0


class PlainConversation:
    """What `Conversation` is for a Gemino peer: when the call begins and ends. No socket, no clock.

    heard: to be told how many datagrams have come. ended: the connection is closed.
    """

    greeted = True

    def __init__(self, outgoing: Outgoing | None, incoming: Incoming | None, now: float) -> None:
        self.outgoing = outgoing
        self.incoming = incoming
        self.started = False
        self.peer_left = False
        self.over = False
        self._datagrams = -1
        self._heard_at = now

    def goodbye(self, reason: str) -> list[Message]:  # noqa: ARG002 - see above
        """Nothing."""
        return []

    def receive(self, data: bytes | str, now: float) -> list[Message]:  # noqa: ARG002
        """Whatever a plain peer says on its data channel is none of ours."""
        return []

    def messages(self, now: float) -> list[Message]:
        """Lets both halves do what is due; there is nobody to say anything to."""
        if self.outgoing is not None:
            self.outgoing.messages(now)
        if self.incoming is not None:
            self.incoming.tick(now)
        has_sent = self.outgoing is None or self.outgoing.finished(now)
        is_quiet = self.incoming is None or self.incoming.quiet(now)
        if has_sent and is_quiet and self.outgoing is not None:
            self.over = True
        return []

    def check(self, now: float) -> None:
        """Raise the GeminoError for which the call cannot go on, if there is one."""
        for half in (self.outgoing, self.incoming):
            failure: GeminoError | None = None if half is None else half.failure
            if failure is not None:
                raise failure
        silence_s = now - self._heard_at
        if self.peer_left and silence_s > _AFTER_LEAVING_S:
            self.over = True
        if silence_s > _SILENCE_S:
            raise CallError(
                f"the other peer is gone: nothing came for {silence_s:.1f} s; call again"
            )

    def heard(self, datagrams: int, now: float, *, ended: bool) -> None:
        """Take the transport's counter, and whether the connection is closed."""
        if datagrams != self._datagrams:
            self._datagrams, self._heard_at = datagrams, now
        if ended:
            self.over = True
