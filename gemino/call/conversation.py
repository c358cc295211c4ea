"""What two connected peers say to each other: messages in, messages out.

`Conversation` joins the table of `states` with the two halves of the media. It has no socket;
`peer` carries what it says. A message that breaks the protocol is counted, logged and dropped, and
the call goes on; what makes a call pointless (another size, silence) ends it with a CallError.
"""

import logging

from gemino.call.incoming import MAX_REFERENCE_BYTES, Incoming
from gemino.call.options import PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.states import CallState, PeerState
from gemino.errors import CallError, GeminoError, WireError
from gemino.wire import Bye, Hello, Message, parse
from gemino.zoo import find

logger = logging.getLogger(__name__)

_HELLO_S = 20.0
_SILENCE_S = 4.0
"""A peer from which nothing comes for so long is gone; each says something every two seconds."""
_SILENCE_AFTER_LEAVING_S = 1.0
_LAST_WORDS_S = 5.0


class Conversation:
    """One call's data channel, from Hello to Bye. `now` is time.monotonic()."""

    def __init__(
        self,
        options: PeerOptions,
        outgoing: Outgoing | None,
        incoming: Incoming | None,
        now: float,
    ) -> None:
        self.options = options
        self.outgoing = outgoing
        self.incoming = incoming
        self.started = False
        self.peer_left = False
        """Set when the signalling server says that the other peer's connection to it ended."""
        model = options.media.model
        self._model = None if model is None else bytes.fromhex(find(model).sha256)
        self._state = CallState()
        self._opened_at = self._heard_at = now
        self._said_bye_at: float | None = None
        self._refusal: WireError | None = None
        self._failure: GeminoError | None = None

    @property
    def greeted(self) -> bool:
        """The other peer has introduced itself."""
        return self._state.theirs is not PeerState.NEW

    @property
    def over(self) -> bool:
        """Nobody has anything left to say."""
        return self._state.ours is PeerState.DONE and self._state.theirs is PeerState.DONE

    def hello(self) -> Message:
        """What we say first."""
        size_px = self.options.media.size_px
        return self._said(
            Hello(
                codecs=self.options.media.lr_codecs,
                output_sizes_px=(size_px,),
                models=() if self._model is None else (self._model,),
                max_reference_bytes=MAX_REFERENCE_BYTES,
            )
        )

    def goodbye(self, reason: str) -> list[Message]:
        """What we say last, if there is still somebody to say it to."""
        if self._state.ours is not PeerState.OPEN:
            return []
        return [self._said(Bye(reason))]

    def receive(self, data: bytes | str, now: float) -> list[Message]:
        """Take one message; returns the answers. Never raises: see `check`."""
        self._heard_at = now
        try:
            message = parse(data)
            self._state.receive(message)
            answers = self._take_whole(message)
        except WireError as error:
            level = logging.WARNING if self._refusal is None else logging.DEBUG
            self._refusal = self._refusal or error  # the first says most
            for half in (self.outgoing, self.incoming):
                if half is not None:
                    half.counters.garbage += 1
            logger.log(level, "dropped a message: %s", error)
            return []
        return [self._said(a) for a in answers] if self._state.ours is PeerState.OPEN else []

    def messages(self, now: float) -> list[Message]:
        """What is to be said now."""
        if self._state.ours is not PeerState.OPEN:
            return []
        messages: list[Message] = []
        if self.outgoing is not None:
            messages += self.outgoing.messages(now)
        if self.incoming is not None:
            messages += self.incoming.tick(now)
        if self._has_finished(now):
            self._said_bye_at = now
            messages.append(Bye("nothing is left to send or to receive"))
        return [self._said(message) for message in messages]

    def check(self, now: float) -> None:
        """Raise the GeminoError for which the call cannot go on, if there is one."""
        halves = [half for half in (self.outgoing, self.incoming) if half is not None]
        failures = [self._failure, *(half.failure for half in halves)]
        for failure in failures:
            if failure is not None:
                raise failure
        if not self.greeted and now - self._opened_at > _HELLO_S:
            why = self._refusal or "it says no Hello"
            raise CallError(f"the other peer does not speak this protocol: {why}")
        self._check_silence(now)

    def _check_silence(self, now: float) -> None:
        heard_at = self._heard_at
        if self.incoming is not None:
            heard_at = max(heard_at, self.incoming.heard_at or 0.0)
        silence_s = now - heard_at
        if self._state.theirs is PeerState.DONE:
            return
        limit_s = _SILENCE_AFTER_LEAVING_S if self.peer_left else _SILENCE_S
        if self._said_bye_at is not None:
            limit_s = _LAST_WORDS_S
        if self.greeted and silence_s > limit_s:
            raise CallError(
                f"the other peer is gone: nothing came for {silence_s:.1f} s; call again"
            )

    def _take_whole(self, message: Message) -> list[Message]:
        """As `_take`; what we stumble over is the call's failure, or aiortc's loop would end."""
        try:
            return self._take(message)
        except WireError:
            raise
        except Exception as error:
            name = type(message).__name__
            logger.debug("a %s cannot be taken", name, exc_info=True)
            self._failure = CallError(f"a {name} of the other peer cannot be taken: {error}")
            return []

    def _take(self, message: Message) -> list[Message]:
        if isinstance(message, Hello):
            self._check_hello(message)
        elif isinstance(message, Bye):
            logger.info("the other peer leaves: %s", message.reason)
        if self.outgoing is not None:
            self.outgoing.receive(message)
        return self.incoming.receive(message) if self.incoming is not None else []

    def _check_hello(self, hello: Hello) -> None:
        ours = self.options.media.size_px
        if ours not in hello.output_sizes_px:
            theirs = ", ".join(map(str, hello.output_sizes_px))
            self._failure = CallError(
                f"the other peer calls at {theirs} px and we at {ours}: start both with one --size"
            )
        elif self.outgoing is not None and self.outgoing.codec not in hello.codecs:
            self._failure = CallError(
                f"the other peer does not decode {self.outgoing.codec}, which it agreed to: is it"
                " of another version?"
            )
        elif self.outgoing is not None:
            self.outgoing.limit_references(hello.max_reference_bytes)
            if self._model is not None:
                self._compare_models(hello, self.outgoing)

    def _compare_models(self, hello: Hello, outgoing: Outgoing) -> None:
        """Say so where the other peer cannot show what we might expect it to."""
        if self._model in hello.models:
            outgoing.their_model = "the same"
        elif hello.models:
            outgoing.their_model = "another one"
            logger.warning("the other peer has another network than ours, and draws with that")
        else:
            outgoing.their_model = "none"
            outgoing.spare_references()
            logger.warning("the other peer has no network: it enlarges the small picture")

    def _has_finished(self, now: float) -> bool:
        if self._state.theirs is PeerState.DONE:
            return True  # nobody is there to see the rest
        if self.outgoing is None or not self.outgoing.finished(now):
            return False
        return self.incoming is None or self.incoming.quiet(now)

    def _said(self, message: Message) -> Message:
        self._state.send(message)
        return message
