"""The options about what is sent: a camera's pictures or a clip's, and their sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gemino.cli import browser as page
from gemino.cli import consent, sound
from gemino.errors import CallError

if TYPE_CHECKING:
    from gemino.call.sources import Source

FIRST_CAMERA, NO_CLIP, OWN_SCREEN = "0", "", ""
_LIST = "list"


@dataclass(frozen=True, slots=True)
class Sending:
    """What is sent."""

    heading: ClassVar[str] = "What is sent"

    camera: Annotated[
        str | None,
        typer.Option(
            metavar="[N|PATH|list]",
            help="Send what a camera sees: the first, the Nth from 0, a device; list: names them.",
        ),
    ] = None
    mic: sound.Mic = None
    clip: Annotated[
        Path | None, typer.Option("--input", metavar="CLIP", help="Send this clip.")
    ] = None
    loop: Annotated[bool, typer.Option("--loop", help="Send the clip again and again.")] = False
    test_pattern: Annotated[
        bool, typer.Option("--test-pattern", help="Send a moving test picture.")
    ] = False
    screen: Annotated[
        str | None,
        typer.Option(
            metavar="[DISPLAY]",
            help="Send this machine's screen (X11), or another one such as :1, with"
            " legible text; wants --kbps 100 or more.",
        ),
    ] = None
    browser: page.Browser = None
    lend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Lend the other side your own adapter, in bits that are left over; asks for your"
            " consent once.",
        ),
    ] = None

    def lent(self, *, loopback: bool) -> bytes | None:
        """The adapter that may be lent; raises CallError without its owner's consent."""
        if self.lend is None:
            return None
        if loopback:
            raise CallError("--lend is for calls of two: with --loopback, --adapter NAME draws")
        return consent.lent(self.lend)

    @property
    def lists_cameras(self) -> bool:
        return self.camera == _LIST

    def source(self, loopback_clip: str | None) -> "Source | None":
        """What a peer is to send; raises an error where it is two things at once, or not there."""
        from gemino.call.camera import CameraSource
        from gemino.call.desktop import DesktopSource
        from gemino.call.devices import check_camera
        from gemino.call.sources import ClipSource, PatternSource
        from gemino.media.opening import regular_file

        named = (self.clip, self.camera, self.screen)
        sources = sum(one is not None for one in named) + self.test_pattern
        if loopback_clip == NO_CLIP and (not self.test_pattern or sources > 1 or self.loop):
            raise CallError("--loopback needs a clip to send, or --test-pattern alone")
        if loopback_clip and sources:
            raise CallError("--loopback CLIP sends that clip: name no other source")
        if sources > 1:
            raise CallError("send one of --camera, --input, --screen and --test-pattern")
        if self.loop and self.clip is None and loopback_clip is None:
            raise CallError("--loop goes with --input CLIP")
        if self.camera is not None:
            check_camera(self.camera)
            return CameraSource(self.camera)
        if self.clip is not None:
            regular_file(self.clip)
            return ClipSource(self.clip, self.loop)
        if self.screen is not None:
            return DesktopSource(self.screen)
        return PatternSource() if self.test_pattern else None


def print_cameras() -> None:
    """Name the cameras of this machine."""
    from gemino.call.devices import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        sizes = ", ".join(f"{width}x{height}" for width, height in camera.sizes)
        typer.echo(f"{camera.device}  {camera.name}  {sizes or 'sizes not told'}")
    if not cameras:
        typer.echo("no camera is connected; --input FILE sends a clip, --test-pattern a picture")
