"""What `gemino doctor` says of the microphone and the loudspeaker: each is opened for a moment."""

import math
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from gemino.call.opus import Samples
from gemino.call.soundcard import Direction, OpenDevice, PortAudioCard, SoundCard
from gemino.errors import MediaError

_LISTEN_BLOCKS = 25  # half a second
_PATIENCE_S = 3.0
_SILENT_DB = -70.0

Outcome = tuple[Literal["ok", "note"], str, dict[str, Any]]


def microphone(card: SoundCard | None = None) -> Outcome:
    """Listen to the default microphone for half a second."""
    peak, blocks, enough = 0, 0, threading.Event()

    def deliver(samples: Samples, _heard_at: float) -> None:
        nonlocal peak, blocks
        peak = max(peak, int(np.abs(samples.astype(np.int32)).max(initial=0)))
        blocks += 1
        if blocks >= _LISTEN_BLOCKS:
            enough.set()

    card = PortAudioCard() if card is None else card
    try:
        name, names, came = _tried(card, "input", lambda: card.record(None, deliver), enough)
    except MediaError as error:
        return "note", f"{error}", {}
    loudest_db = round(20 * math.log10(max(peak, 1) / 32_768), 1)
    facts = {"microphones": names, "loudest_db": loudest_db}
    if not came:
        return "note", f"{name} gives no sound: close the program that uses it", facts
    if loudest_db < _SILENT_DB:
        return "note", f"{name} hears nothing at all: is it muted?", facts
    return "ok", f"{name} hears something ({loudest_db:g} dB at most)", facts


def loudspeaker(card: SoundCard | None = None) -> Outcome:
    """Play silence on the default loudspeaker for a moment."""
    asked = threading.Event()

    def pull(count: int, _until_s: float) -> Samples:
        asked.set()
        return np.zeros(count, np.int16)

    card = PortAudioCard() if card is None else card
    try:
        name, names, came = _tried(card, "output", lambda: card.play(None, pull), asked)
    except MediaError as error:
        return "note", f"{error}", {}
    if not came:
        return "note", f"{name} plays nothing", {"loudspeakers": names}
    return "ok", f"{name} plays", {"loudspeakers": names}


def _tried(
    card: SoundCard,
    direction: Direction,
    open_device: Callable[[], OpenDevice],
    worked: threading.Event,
) -> tuple[str, list[str], bool]:
    """The default device's name, all names, and whether it did its work while it was open.

    Raises MediaError where there is none, or it does not open.
    """
    names = [device.name for device in card.devices(direction)]
    if not names:
        what = "microphone" if direction == "input" else "loudspeaker"
        raise MediaError(f"no {what} is connected; calls work without")
    device = open_device()
    came = worked.wait(_PATIENCE_S)
    device.close()
    return names[0], names, came
