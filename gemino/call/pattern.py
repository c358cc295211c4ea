"""A moving test picture, drawn as it is needed: for calls without a camera, a clip or a face.

Colour bars show colours, the lines and the checks below them what detail survives, the disc whether
motion is smooth, and the time code how old the picture is that somebody sees.
"""

import math
from functools import lru_cache

import cv2
import numpy as np

from gemino.frames import Frame

PATTERN_FPS = 30
_BAR = 191
"""75 % bars, as television has them: no colour is at the edge of what can be shown."""
_BARS = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1))
_BARS_DOWN_TO, _DETAIL_DOWN_TO = 0.62, 0.78  # shares of the height; the time code is below
_ROUND_S = 6.0
_FONT = cv2.FONT_HERSHEY_DUPLEX


def time_code(index: int) -> str:
    """Hours, minutes, seconds and frames of frame `index`, as HH:MM:SS:FF."""
    seconds, frames = divmod(index, PATTERN_FPS)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def draw_pattern(size_px: int, index: int) -> Frame:
    """Frame `index` of the pattern, uint8 [size_px, size_px, 3]."""
    picture = _still(size_px).copy()
    turn = 2 * math.pi * index / (PATTERN_FPS * _ROUND_S)
    x = round(size_px * (0.5 + 0.38 * math.sin(turn)))
    y = round(size_px * (0.31 + 0.2 * math.sin(2 * turn)))
    radius = max(size_px // 12, 4)
    cv2.circle(picture, (x, y), radius, (235, 235, 235), cv2.FILLED, cv2.LINE_AA)
    cv2.circle(picture, (x, y), radius // 2, (16, 16, 16), cv2.FILLED, cv2.LINE_AA)
    text = time_code(index)
    scale, thickness = size_px / 290, max(size_px // 160, 1)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    middle = size_px * (1 + _DETAIL_DOWN_TO) / 2
    at = ((size_px - width) // 2, round(middle + height / 2))
    cv2.putText(picture, text, at, _FONT, scale, (235, 235, 235), thickness, cv2.LINE_AA)
    return picture


@lru_cache(maxsize=2)
def _still(size_px: int) -> Frame:
    """What does not move: bars, a row of detail, a dark field for the time code."""
    picture = np.full((size_px, size_px, 3), 16, np.uint8)
    bars_end, detail_end = round(_BARS_DOWN_TO * size_px), round(_DETAIL_DOWN_TO * size_px)
    across = np.arange(size_px)
    colours = np.array(_BARS, np.uint8) * _BAR
    picture[:bars_end] = colours[across * len(_BARS) // size_px]
    # From the left: checks of 8 px, lines of 4, 2 and 1 px, and a ramp of grey.
    down = np.arange(detail_end - bars_end)[:, None]
    checks = (across // 8 + down // 8) % 2
    fifth = max(size_px // 5, 1)
    detail = np.where(across < fifth, checks, 0) * 235
    for number, width in enumerate((4, 2, 1), 1):
        inside = (across >= number * fifth) & (across < (number + 1) * fifth)
        detail = np.where(inside, across // width % 2 * 235, detail)
    ramp = 16 + (across - 4 * fifth).clip(0) * 219 // fifth
    detail = np.where(across >= 4 * fifth, ramp.clip(16, 235), detail)
    picture[bars_end:detail_end] = detail[..., None].astype(np.uint8)
    return picture
