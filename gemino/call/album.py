"""References of former calls: ours, to be offered again, and theirs, not to be sent again.

A peer that has a gallery keeps what it sends and what it gets. When a call begins, it offers the
hashes of those of its own references that look most like its first picture, 37 bytes each. The
other side says which it has and uses them at once; nothing else of them is sent.
"""

import logging

from gemino.call.references import Kept
from gemino.errors import CodecError, MediaError
from gemino.frames import Frame, prepare
from gemino.gallery import Gallery
from gemino.likeness import SAME_SCENE, Thumbnail, difference, thumbnail
from gemino.video.reference import decode_picture

logger = logging.getLogger(__name__)

SENT, RECEIVED = "sent", "received"
_LOOKED_THROUGH = 24
_OFFERED = 4


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

    def like(self, frame: Frame, size_px: int) -> list[bytes]:
        """The references most like `frame`, any size, as a call of `size_px` shows it; likest last.

        None of those of another scene.
        """
        seen = thumbnail(prepare(frame, size_px))
        ranked = sorted(
            ((difference(seen, former), data) for former, data in self._former),
            key=lambda each: each[0],
        )
        return [data for unlike, data in ranked[:_OFFERED] if unlike <= SAME_SCENE][::-1]

    def keep(self, reference: bytes) -> None:
        """Keep a reference that is sent."""
        try:
            self._gallery.put(SENT, reference)
        except MediaError as error:
            if not self._warned:
                logger.warning("references are not kept: %s", error)
            self._warned = True
