"""Pictures as they are to be shown: turned and mirrored as their file says."""

import gc
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import SideData

from gemino.errors import MediaError
from gemino.frames import Frame, from_video_frame
from gemino.media.opening import MAX_SIDE_PX


class Display:
    """Turns and mirrors pictures as their display matrix says (ISO 14496-12, tkhd)."""

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix: list[int] | None = None
        self._asked = False

    def shown(self, picture: av.VideoFrame, clip: Path) -> Frame:
        """`picture` as a frame; MediaError where it is too large."""
        if max(picture.width, picture.height) > MAX_SIDE_PX:
            raise MediaError(f"{clip}: pictures are larger than {MAX_SIDE_PX} px a side")
        frame = from_video_frame(picture)
        if self._asked:
            # PyAV's side data refers to its picture, and the picture to it: memory of a megabyte
            # that is freed when the collector next comes by, which in a call takes minutes. The
            # picture before this one is young, so looking through the youngest objects will do.
            self._asked = False
            gc.collect(0)
        if picture.rotation != self._rotation:
            self._rotation, self._matrix = picture.rotation, _matrix(picture)
            self._asked = True
        if self._matrix is None:
            return frame
        a, b, _, c, d = self._matrix
        # A pixel (x, y) is shown at (a x + c y, b x + d y); only quarter turns occur in practice.
        if abs(b) > abs(a):
            frame, across, down = frame.transpose(1, 0, 2), c, b
        else:
            across, down = a, d
        return np.ascontiguousarray(frame[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _matrix(picture: av.VideoFrame) -> list[int] | None:
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    assert isinstance(matrix, SideData)
    entries: list[int] = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return entries
