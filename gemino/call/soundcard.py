"""Microphones and loudspeakers of this machine, by PortAudio: the thin rim of the devices.

`sounddevice` brings no PortAudio on Linux; without it, and without any device, everything here
raises MediaError and the rest of a call works. Samples are mono int16 at 48 kHz, which every sound
server converts to what its devices do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np

from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.errors import MediaError

Direction = Literal["input", "output"]
Deliver = Callable[[Samples, float], None]
"""Takes samples and when (time.monotonic) the last of them was heard."""
Pull = Callable[[int, float], Samples]
"""Gives so many samples; with the seconds until the first of them sounds."""

BLOCK_SAMPLES = 960
_WORDS: dict[Direction, tuple[str, str]] = {
    "input": ("microphone", "--mic"),
    "output": ("loudspeaker", "--speaker"),
}
_LATENCY_S = 0.04
"""What a device is asked for: less, and a busy machine makes it stutter."""
_MOST_LATENCY_S = 1.0


@dataclass(frozen=True, slots=True)
class SoundDevice:
    """name: as it is asked for. system: what drives it (ALSA, Core Audio ...)."""

    name: str
    system: str
    is_default: bool


class OpenDevice(Protocol):
    """A device that runs."""

    def alive(self) -> bool:
        """Whether it still runs, as far as it knows."""

    def close(self) -> None:
        """Let go of it; a second call does nothing."""


class SoundCard(Protocol):
    """What a call needs of a machine's sound devices; all raise MediaError."""

    def devices(self, direction: Direction) -> list[SoundDevice]:
        """Those there are, the default first."""

    def record(self, name: str | None, deliver: Deliver) -> OpenDevice:
        """Open a microphone (None: the default); `deliver` is called in a thread of its own."""

    def play(self, name: str | None, pull: Pull) -> OpenDevice:
        """Open a loudspeaker (None: the default); `pull` is called in a thread of its own."""


class PortAudioCard:
    """This machine's sound devices."""

    def devices(self, direction: Direction) -> list[SoundDevice]:
        """Those there are, the default first; raises MediaError without PortAudio."""
        portaudio = _portaudio()
        return [device for _, device in _devices(portaudio, direction)]

    def record(self, name: str | None, deliver: Deliver) -> OpenDevice:
        """Open a microphone; raises MediaError where it is missing, busy or not permitted."""

        def on_block(block: Any, _frames: int, times: Any, _status: Any) -> None:
            heard_s = _clamped(times.currentTime - times.inputBufferAdcTime) - _length_s(block)
            deliver(np.array(block[:, 0], np.int16), time.monotonic() - max(heard_s, 0.0))

        portaudio = _portaudio()
        index = _find(portaudio, "input", name)
        return _open(portaudio, portaudio.InputStream, "input", index, on_block)

    def play(self, name: str | None, pull: Pull) -> OpenDevice:
        """Open a loudspeaker; raises MediaError where it is missing, busy or not permitted."""

        def on_block(block: Any, frames: int, times: Any, _status: Any) -> None:
            block[:, 0] = pull(frames, _clamped(times.outputBufferDacTime - times.currentTime))

        portaudio = _portaudio()
        index = _find(portaudio, "output", name)
        return _open(portaudio, portaudio.OutputStream, "output", index, on_block)


class _Stream:
    """A stream of PortAudio."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def alive(self) -> bool:
        try:
            return bool(self._stream.active)
        except Exception:  # sounddevice's own: whoever watches the device opens it again
            return False

    def close(self) -> None:
        self._stream.close(ignore_errors=True)


def find_device(card: SoundCard, direction: Direction, name: str | None) -> SoundDevice:
    """The device that `name` (all or part of it; None: the default) means, without opening it.

    Raises MediaError where there is none.
    """
    return _choose(list(enumerate(card.devices(direction))), direction, name)[1]


def _portaudio() -> ModuleType:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise MediaError(
            f"no sound devices: {_first_line(error)}; on Debian and Ubuntu, apt install"
            " libportaudio2"
        ) from None
    module: ModuleType = sounddevice
    return module


def _devices(portaudio: ModuleType, direction: Direction) -> list[tuple[int, SoundDevice]]:
    """PortAudio's numbers and devices, the default first."""
    try:
        systems = portaudio.query_hostapis()
        default = portaudio.default.device[direction]
        found = [
            (index, SoundDevice(str(one["name"]), str(systems[one["hostapi"]]["name"]), True))
            for index, one in enumerate(portaudio.query_devices())
            if one[f"max_{direction}_channels"] > 0
        ]
    except portaudio.PortAudioError as error:
        raise MediaError(f"sound devices cannot be listed: {_first_line(error)}") from None
    named = [
        (index, SoundDevice(device.name, device.system, index == default))
        for index, device in found
    ]
    return sorted(named, key=lambda one: not one[1].is_default)


def _find(portaudio: ModuleType, direction: Direction, name: str | None) -> int:
    return _choose(_devices(portaudio, direction), direction, name)[0]


def _choose(
    devices: list[tuple[int, SoundDevice]], direction: Direction, name: str | None
) -> tuple[int, SoundDevice]:
    word, option = _WORDS[direction]
    if not devices:
        raise MediaError(f"no {word} is connected; {option} off calls without one")
    if name is None:
        return devices[0]
    exact = [one for one in devices if one[1].name == name]
    alike = [one for one in devices if name.lower() in one[1].name.lower()]
    if not exact and not alike:
        raise MediaError(f"there is no {word} {name!r}; {option} list names those there are")
    return (exact or alike)[0]


def _open(
    portaudio: ModuleType,
    kind: Callable[..., Any],
    direction: Direction,
    index: int,
    callback: Callable[[Any, int, Any, Any], None],
) -> _Stream:
    stream = None
    try:
        stream = kind(
            samplerate=SAMPLE_RATE_HZ,
            blocksize=BLOCK_SAMPLES,
            device=index,
            channels=1,
            dtype="int16",
            latency=_LATENCY_S,
            callback=callback,
        )
        stream.start()
    except (portaudio.PortAudioError, ValueError) as error:
        if stream is not None:  # it opened, and does not start: sounddevice would keep it open
            stream.close(ignore_errors=True)
        word, option = _WORDS[direction]
        raise MediaError(
            f"the {word} cannot be opened: {_first_line(error)}; close the program that uses it, or"
            f" choose another ({option} list)"
        ) from None
    return _Stream(stream)


def _length_s(block: Any) -> float:
    return len(block) / SAMPLE_RATE_HZ


def _clamped(seconds: float) -> float:
    """Some drivers tell no times, or those of another clock."""
    return seconds if 0 <= seconds <= _MOST_LATENCY_S else 0.0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
