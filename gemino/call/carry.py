"""A picture between two drawn ones: the small picture enlarged, with the detail of the last drawn.

Where the network cannot draw every picture in time, every second or third is enough: what it adds
to the enlarged small picture changes little within 33 ms. What has changed in the small picture
itself is seen to change, and takes no detail along. docs/performance.md has what that costs, and
what drawing smaller pictures would.
"""

import cv2
import numpy as np

from gemino.decoder import DecodedFrame
from gemino.frames import Frame, resize

_SAME, _OTHER = 16.0, 48.0
"""Change of the small picture, in levels, up to which all detail and from which none is carried."""
_BLUR = 1.0
_ONE = 256


class Carry:
    """The detail of `drawn`: what it shows beyond its enlarged LR picture."""

    def __init__(self, drawn: DecodedFrame) -> None:
        self._lr = drawn.lr
        enlarged = resize(drawn.lr, drawn.frame.shape[0])
        self._detail = cv2.subtract(drawn.frame, enlarged, dtype=cv2.CV_16S)

    def onto(self, lr: Frame) -> Frame:
        """The picture [S, S, 3] for `lr` [s, s, 3], straightened, that comes soon after."""
        side = self._detail.shape[0]
        lr = resize(lr, self._lr.shape[0])  # the detail is what lies beyond that
        enlarged = resize(lr, side)
        changed = cv2.absdiff(lr, self._lr).max(axis=2).astype(np.float32)
        changed = cv2.GaussianBlur(changed, (0, 0), _BLUR)
        kept = np.clip((_OTHER - changed) / (_OTHER - _SAME), 0, 1) * _ONE
        detail = self._detail
        if kept.min() < _ONE:
            weight = cv2.resize(kept.astype(np.int16), (side, side))
            detail = cv2.multiply(detail, cv2.merge([weight] * 3), scale=1 / _ONE, dtype=cv2.CV_16S)
        return np.asarray(cv2.add(enlarged, detail, dtype=cv2.CV_8U), np.uint8)
