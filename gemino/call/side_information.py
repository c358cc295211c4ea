"""What crosses beside our stream, for the receiver to rebuild it with: references, and an adapter.

References go first, those of former calls before new ones (`album`); an adapter that is lent takes
what they leave (`lending`). No socket and no clock: `now` (seconds, monotonic) is an argument.
"""

from collections.abc import Callable

from gemino.call.adaptation import Budget
from gemino.call.album import Album
from gemino.call.lending import AdapterSender
from gemino.call.references import ReferenceSender
from gemino.call.sender import Made
from gemino.call.stats import Counters
from gemino.frames import Frame
from gemino.gallery import Gallery
from gemino.likeness import Thumbnail
from gemino.wire import (
    MAX_REFERENCE_BYTES,
    AdapterAnswer,
    Message,
    ReferenceAck,
    ReferenceHave,
    ReferenceOffer,
)


class SideInformation:
    """What a sender says beside its stream, and what it hears of that.

    gallery: of references, None for none. lends: an adapter's file. counters: of what is sent.
    wanted: False where the receiver has no network. largest_bytes: of a reference that it takes.
    """

    def __init__(
        self, budget: Budget, counters: Counters, gallery: Gallery | None, lends: bytes | None
    ) -> None:
        self.references = ReferenceSender(budget.reference_pace_kbps)
        self._lent = None if lends is None else AdapterSender(lends, budget.reference_kbps)
        self._album = None if gallery is None else Album(gallery)
        self._counters = counters
        self.wanted = True
        self.largest_bytes = MAX_REFERENCE_BYTES

    def open(self) -> None:
        """Look through what former calls have left; blocks for up to a second."""
        if self._album is not None:
            self._album.open()

    def begin(self, first: Frame, size_px: int) -> None:
        """Choose what former calls have for a call of `size_px` that begins with `first`; once."""
        if self._album is not None:
            self._album.begin(first, size_px)

    def pace(self, budget: Budget) -> None:
        """Let it leave as fast as `budget` says."""
        self.references.pace_kbps = budget.reference_pace_kbps
        if self._lent is not None:
            self._lent.pace_kbps = budget.reference_kbps

    def messages(self, now: float, take: Callable[[], list[Made]]) -> list[Message]:
        """What is to be said now; take: gives the references that have been made since."""
        messages = [*self._new_references(now, take), *self.references.messages(now)]
        self._counters.reference_bytes = self.references.bytes_sent
        if self._lent is not None and self.wanted:
            messages += self._lent.messages(now, idle=self.references.idle)
            self._counters.adapter_bytes = self._lent.bytes_sent
        return messages

    def receive(self, message: ReferenceAck | ReferenceHave | AdapterAnswer) -> Thumbnail | None:
        """Take an answer; returns what a reference of a former call shows that the receiver has.

        Raises WireError.
        """
        if isinstance(message, AdapterAnswer):
            if self._lent is not None:
                self._lent.receive(message)
            return None
        self.references.receive(message)
        if self._album is None or isinstance(message, ReferenceAck):
            return None
        return self._album.answered(message)

    def wished(self) -> None:
        """The receiver wishes for a reference, whatever it had of former calls."""
        if self._album is not None:
            self._album.wished()

    def _new_references(self, now: float, take: Callable[[], list[Made]]) -> list[ReferenceOffer]:
        """Have what was made sent, but for what a former call spares; returns offers of those."""
        if not self.wanted:
            take()  # or they would pile up
            return []
        album = self._album
        offers = [] if album is None else album.offers(now)
        if album is not None and album.waits(now):
            return offers
        for reference, seen in take():
            spared = album is not None and album.spares(seen)
            if spared or len(reference) > self.largest_bytes:
                continue
            self.references.send(reference)
            self._counters.references += 1
            self._counters.reference_at = now
            if album is not None:
                album.keep(reference)
        return offers
