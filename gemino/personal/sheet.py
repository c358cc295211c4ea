"""Contact sheets and before/after pictures: what people look at before they trust a number."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from gemino.errors import MediaError
from gemino.frames import Frame

Kind = Literal["learned", "judged", "dropped"]

_COLOURS = {"learned": (60, 160, 60), "judged": (60, 110, 220), "dropped": (200, 60, 50)}
_COLUMNS = 6
_MOST_TILES = 48
_BORDER, _CAPTION = 3, 18


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A picture [S, S, 3] of the sheet, what is written below it, and what became of it."""

    picture: Frame
    label: str
    kind: Kind


def write_sheet(tiles: list[Tile], path: Path) -> None:
    """Draw `tiles`, those that are used first, as a PNG. MediaError where that fails.

    Green: learned from; blue: judged by; red: dropped, and why.
    """
    order = list(_COLOURS)
    cells = [
        captioned(tile.picture, f"{tile.kind}: {tile.label}", _COLOURS[tile.kind])
        for tile in sorted(tiles, key=lambda tile: order.index(tile.kind))[:_MOST_TILES]
    ]
    while len(cells) % _COLUMNS:
        cells.append(np.zeros_like(cells[0]))
    rows = [np.hstack(cells[at : at + _COLUMNS]) for at in range(0, len(cells), _COLUMNS)]
    write_png(np.vstack(rows), path)


def captioned(picture: Frame, text: str, colour: tuple[int, int, int]) -> Frame:
    """`picture` [H, W, 3] in a border of `colour`, with a line of text below."""
    height, width = picture.shape[:2]
    cell = np.full((height + 2 * _BORDER + _CAPTION, width + 2 * _BORDER, 3), colour, np.uint8)
    cell[_BORDER : _BORDER + height, _BORDER : _BORDER + width] = picture
    place = (_BORDER + 2, height + 2 * _BORDER + _CAPTION - 6)
    cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return cell


def write_png(picture: Frame, path: Path) -> None:
    """Write `picture`, RGB. MediaError where that fails."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
