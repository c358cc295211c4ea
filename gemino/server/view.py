"""What a page is shown of a rebuilt picture: by itself, beside another one, or in colours."""

import av
import cv2
import numpy as np
from aiortc.mediastreams import VIDEO_TIME_BASE

from gemino.call.display import ShownFrame
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.frames import Frame, to_video_frame
from gemino.runtime.origins import Origins
from gemino.server.overlay import shares, tint

_JPEG_QUALITY = 90


class View:
    """shares: of the detail shown last, what was carried over and what was drawn, 0..1; None where
    that is not asked for, or no network draws."""

    def __init__(self) -> None:
        self.shares: tuple[float, float] | None = None
        self._origins: Origins | None = None

    def video(
        self, shown: ShownFrame, beside: Frame | None, *, overlay: bool, now: float
    ) -> av.VideoFrame:
        """The picture for the page, stamped with `now`; `beside` stands on its left.

        Stamped anew, because what is late must not make the browser wait for what comes after it.
        """
        picture = shown.frame
        if not (overlay and shown.neural):
            self._origins = self.shares = None
        else:
            # A picture between two drawn ones has the detail of the former.
            self._origins = self._origins if shown.origins is None else shown.origins
            if self._origins is not None:
                picture, self.shares = tint(picture, self._origins), shares(self._origins)
        if beside is not None:
            picture = np.hstack([beside, picture])
        return to_video_frame(picture, round(now * VIDEO_CLOCK_HZ), VIDEO_TIME_BASE)


def as_jpeg(picture: Frame) -> bytes:
    """A small picture as the page takes it."""
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
