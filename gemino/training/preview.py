"""A batch as a picture: what the network would be shown, before hours are spent on it."""

from pathlib import Path

import cv2
import numpy as np

from gemino.errors import MediaError
from gemino.frames import Frame, resize
from gemino.training.clips import Batch

_MOST_ROWS = 8
_WINDOW_COLOUR = (255, 220, 0)


def draw(batch: Batch) -> Frame:
    """`batch` as uint8 [rows x S, 3 x S, 3], an example a row, eight at most.

    reference | LR upsampled | target, and in the target the window that LPIPS judges.
    """
    rows = []
    for at in range(min(len(batch.crops), _MOST_ROWS)):
        reference, lr, target = (
            np.ascontiguousarray((x[at].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8))
            for x in (batch.reference, batch.lr, batch.target)
        )
        top, left, side = batch.crops[at]
        corner = (left + side - 1, top + side - 1)
        thickness = max(target.shape[0] // 256, 1)
        cv2.rectangle(target, (left, top), corner, _WINDOW_COLOUR, thickness)
        rows.append(np.hstack([reference, resize(lr, target.shape[0]), target]))
    return np.vstack(rows)


def write_png(picture: Frame, path: Path) -> None:
    """Write `picture`, RGB, as a PNG. MediaError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise MediaError(f"{path}: cannot be written")
