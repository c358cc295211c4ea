"""A minute of the camera to learn from, with prompts for what a face does in a call."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from gemino.call.camera import Capture
from gemino.errors import MediaError
from gemino.frames import crop_square, resize
from gemino.media import MovieWriter

RECORDING = "recorded.nut"
PROMPTS = (
    "look into the camera and count to ten",
    "turn slowly to the left, and back",
    "turn slowly to the right, and back",
    "look up, then down, and tilt your head",
    "smile; laugh; show your teeth",
    "raise your eyebrows, frown, shut your eyes",
    "come closer, lean back, touch your hair",
    "say what you had for breakfast",
)
_MOST_PX = 720
_MOST_FPS = 30
_MOST_DAMAGED = 30
"""Pictures in a row that a camera does not give before it is taken for broken."""

Tell = Callable[[str, float], None]
"""Is told the prompt, and how many seconds remain."""


def record(
    capture: Capture,
    path: Path,
    seconds: float,
    tell: Tell,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write `seconds` of what `capture` sees, the middle square, losslessly into `path`.

    The prompts come one after another, each for its share of the time. Closes `capture`. Raises
    MediaError where the camera stops, or the file cannot be written; nothing of it is left then.
    """
    draft = path.with_name(f"partial-{path.name}")
    try:
        _record(capture, draft, seconds, tell, clock)
        draft.replace(path)
    finally:
        capture.release()
        draft.unlink(missing_ok=True)


def _record(
    capture: Capture, path: Path, seconds: float, tell: Tell, clock: Callable[[], float]
) -> None:
    writer: MovieWriter | None = None
    begun_s, due_s, damaged = clock(), 0.0, 0
    try:
        while (at_s := clock() - begun_s) < seconds:
            good, picture = capture.retrieve() if capture.grab() else (False, None)
            if not good or picture is None:
                damaged += 1
                if damaged > _MOST_DAMAGED:
                    raise MediaError(f"the camera stopped after {at_s:.0f} s; plug it in, again")
                continue
            damaged = 0
            if at_s < due_s:
                continue
            due_s = max(due_s, at_s - 1 / _MOST_FPS) + 1 / _MOST_FPS
            square = crop_square(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
            side = min(square.shape[0], _MOST_PX) // 2 * 2
            if writer is None:
                writer = MovieWriter(path, side, Fraction(_MOST_FPS))
            writer.write(resize(square, side), at_s)
            tell(PROMPTS[int(at_s / seconds * len(PROMPTS))], seconds - at_s)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise MediaError("the camera gave no picture; is another program using it?")
