"""The options about sound: its rate, the microphone and the loudspeaker."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gemino.errors import CallError, MediaError

if TYPE_CHECKING:
    from gemino.call.soundcard import Direction
    from gemino.call.sources import Source
    from gemino.call.speaker import Speaker

logger = logging.getLogger(__name__)

DEFAULT, OFF, LIST = "default", "off", "list"
AudioKbps = Annotated[
    float | None,
    typer.Option(
        "--audio-kbps",
        metavar="N",
        help="Sound, 6 to 32 kbps; by default 6 below --kbps 30, 18 below 100, else 24.",
    ),
]
AudioPtime = Annotated[
    int | None,
    typer.Option(
        "--audio-ptime",
        metavar="MS",
        help="Sound in one packet: 20, 40 or 60 ms; by default 60 below --kbps 100.",
    ),
]
Mic = Annotated[
    str | None,
    typer.Option(
        "--mic",
        metavar="[NAME|off|list]",
        help="Send what a microphone hears, in place of a clip's sound; a camera brings the default"
        " one.",
    ),
]
Speakers = Annotated[
    str | None,
    typer.Option(
        "--speaker",
        metavar="[NAME|off|list]",
        help="Play the other side's sound; --show comes with the default loudspeaker.",
    ),
]


def print_devices(direction: "Direction") -> None:
    """Name the microphones or loudspeakers of this machine; raises MediaError."""
    from gemino.call.soundcard import PortAudioCard

    devices = PortAudioCard().devices(direction)
    for device in devices:
        typer.echo(f"{device.name}  ({device.system}{', default' if device.is_default else ''})")
    if not devices:
        kind = "microphone" if direction == "input" else "loudspeaker"
        typer.echo(f"no {kind} is connected")


def with_microphone(
    source: "Source | None", mic: str | None, camera: str | None, loopback_clip: str | None
) -> "Source | None":
    """`source` with a microphone, where one is asked for or the camera brings one.

    Raises CallError where it has no place, MediaError where it is not there.
    """
    from gemino.call.microphone import WithMicrophone
    from gemino.call.soundcard import PortAudioCard, find_device

    if mic is None and camera is not None and source is not None:
        return WithMicrophone(source)
    if mic is None or mic == OFF:
        return source
    if loopback_clip is not None:
        raise CallError("--loopback sends the clip's own sound: leave --mic out")
    if source is None:
        raise CallError("--mic goes with pictures: add --camera, --input or --test-pattern")
    name = None if mic == DEFAULT else mic
    find_device(PortAudioCard(), "input", name)  # say now, not in the call, that there is none
    return WithMicrophone(source, name, needed=True)


@contextlib.contextmanager
def opened_speaker(speaker: str | None, *, shown: bool) -> Iterator["Speaker | None"]:
    """The loudspeaker that is asked for, or that a picture `shown` brings along.

    Raises MediaError where one that is asked for cannot be had.
    """
    from gemino.call.speaker import Speaker

    if speaker == OFF or (speaker is None and not shown):
        yield None
        return
    try:
        opened = Speaker(None if speaker in (None, DEFAULT) else speaker)
    except MediaError as error:
        if speaker is not None:
            raise
        logger.warning("sound is not played: %s", error)
        yield None
        return
    try:
        yield opened
    finally:
        opened.close()
