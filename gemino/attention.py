"""Where the sender's fovea lies: on the face, moved rarely.

A fovea that moves costs a key frame, so it stays while the face is anywhere near it: it is wider
than the face's features on purpose. No face, no fovea.
"""

from gemino import faces
from gemino.config import Fovea
from gemino.frames import Frame

_LOOK_EVERY_S = 0.5
_TIMES_SEEN = 3
"""A change must show so many times in a row."""
_REST_S = 8.0
"""Between two changes: as often as that, their key frames cost a tenth of a thin stream."""
_NEAR = 3
"""In 1/32 of the picture: so far centre and radius may be off."""


class Attention:
    """Follows the face of one camera or clip. Raises ModelError where the detector is missing."""

    def __init__(self) -> None:
        self.fovea: Fovea | None = None
        self._detector = faces.shipped()
        self._looked_at: float | None = None
        self._changed_at: float | None = None
        self._unlike = 0

    def update(self, picture: Frame, now: float) -> Fovea | None:
        """The fovea for `picture`, square RGB, taken at `now` seconds."""
        first = self._looked_at is None
        if not first and self._looked_at is not None and now - self._looked_at < _LOOK_EVERY_S:
            return self.fovea
        self._looked_at = now
        box = self._detector.find(picture)
        wanted = None if box is None else box.fovea(picture.shape[0])
        self._unlike = 0 if _near(wanted, self.fovea) else self._unlike + 1
        rested = self._changed_at is None or now - self._changed_at >= _REST_S
        if self._unlike and (first or (self._unlike >= _TIMES_SEEN and rested)):
            self.fovea, self._unlike, self._changed_at = wanted, 0, now
        return self.fovea


def _near(a: Fovea | None, b: Fovea | None) -> bool:
    if a is None or b is None:
        return a is b
    return max(abs(a.x - b.x), abs(a.y - b.y), abs(a.radius - b.radius)) <= _NEAR
