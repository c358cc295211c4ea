"""References of former calls: ours, to be offered again, and theirs, not to be sent again.

A peer that has a gallery keeps what it sends and what it gets. When a call begins, it offers the
hashes of those of its own references that look most like its first picture, 37 bytes each. The
other side says which it has and uses them at once; nothing else of them is sent. As long as the
answer may come soon, and may be that no other reference is needed, none is sent either.
"""

import hashlib
import logging
from collections import deque
from dataclasses import dataclass

from gemino.call.references import Kept
from gemino.config import REFERENCES_HELD
from gemino.errors import CodecError, MediaError
from gemino.frames import Frame, prepare
from gemino.gallery import Gallery
from gemino.likeness import NEW_POSE, SAME_PICTURE, SAME_SCENE, Thumbnail, difference, thumbnail
from gemino.video.reference import decode_picture
from gemino.wire import ReferenceHave, ReferenceOffer

logger = logging.getLogger(__name__)

SENT, RECEIVED = "sent", "received"
_LOOKED_THROUGH = 24
_OFFERED = 6
_ANSWERED_S = 0.4
"""An answer takes the time to the other side and back. No longer than this does the first reference
wait for it, in the calls in which the other side turns out to have none."""


@dataclass(frozen=True, slots=True, eq=False)
class Former:
    """A reference of a former call. unlike: the first picture of this one (`likeness`)."""

    data: bytes
    seen: Thumbnail
    unlike: float

    @property
    def serves(self) -> bool:
        """Whether the first picture needs no other reference."""
        return self.unlike <= NEW_POSE


class Received(Kept):
    """The other side's references, by hash. A gallery that fails is worth a warning, no more."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._warned = False

    def get(self, sha256: bytes) -> bytes | None:
        return self._gallery.get(RECEIVED, sha256)

    def put(self, data: bytes) -> None:
        try:
            self._gallery.put(RECEIVED, data)
        except MediaError as error:
            if not self._warned:
                logger.warning("references are not kept: %s", error)
            self._warned = True


class Album:
    """Our own references. `open` blocks for up to a second; the rest is quick."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._former: list[tuple[Thumbnail, bytes]] = []
        self._begun = False
        self._to_offer: list[Former] = []
        self._offered: dict[bytes, Former] = {}
        # What the other side holds, the oldest first; None for what this call has sent it.
        self._held: deque[Thumbnail | None] = deque(maxlen=REFERENCES_HELD)
        self._until = 0.0
        self._warned = False

    def open(self) -> None:
        """Look through what was sent last."""
        sent = [item for item in self._gallery.items() if item.kind == SENT]
        for item in sent[:_LOOKED_THROUGH]:
            data = self._gallery.get(SENT, item.sha256)
            if data is None:
                continue
            try:
                self._former.append((thumbnail(decode_picture(data)), data))
            except CodecError as error:
                logger.debug("a kept reference is damaged: %s", error)

    def begin(self, first: Frame, size_px: int) -> None:
        """Choose what to offer in a call of `size_px` that begins with `first`, any size; once.

        None of another scene, and of one picture only its finest coding. The likest comes last: the
        other side then takes it for the newest.
        """
        if self._begun:
            return
        self._begun = True
        seen = thumbnail(prepare(first, size_px))
        former = [Former(data, old, difference(seen, old)) for old, data in self._former]
        finest: list[Former] = []
        for one in sorted(former, key=lambda one: len(one.data), reverse=True):
            if all(difference(one.seen, finer.seen) > SAME_PICTURE for finer in finest):
                finest.append(one)
        ranked = sorted(finest, key=lambda one: one.unlike)[:_OFFERED]
        self._to_offer = [one for one in ranked if one.unlike <= SAME_SCENE][::-1]

    def offers(self, now: float) -> list[ReferenceOffer]:
        """What is to be offered at `now` seconds, before any other reference; each once."""
        offers = []
        for one in self._to_offer:
            sha256 = hashlib.sha256(one.data).digest()
            self._offered[sha256] = one
            offers.append(ReferenceOffer(sha256, len(one.data)))
            if one.serves:
                self._until = now + _ANSWERED_S
        self._to_offer = []
        return offers

    def waits(self, now: float) -> bool:
        """Whether other references had better wait for an answer that may spare them."""
        return now < self._until

    def answered(self, message: ReferenceHave) -> Thumbnail | None:
        """What a reference shows that was offered here, and that the other side has."""
        former = self._offered.pop(message.sha256, None)
        if former is None:
            return None
        self._held.append(former.seen)
        if former.serves:
            self._until = 0.0
        return former.seen

    def spares(self, seen: Thumbnail) -> bool:
        """Whether the other side has one that shows as much as one of `seen` would."""
        former = (held for held in self._held if held is not None)
        return any(difference(seen, held) <= NEW_POSE for held in former)

    def wished(self) -> None:
        """The other side wishes for a reference: those of former calls are not what it needs."""
        self._held.clear()

    def keep(self, reference: bytes) -> None:
        """Keep a reference that is sent, which may push an older one out at the other side."""
        self._held.append(None)
        try:
            self._gallery.put(SENT, reference)
        except MediaError as error:
            if not self._warned:
                logger.warning("references are not kept: %s", error)
            self._warned = True
