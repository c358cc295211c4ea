"""What `gemino-call` shows a call on: its options, opened for the time of a call."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gemino.cli import sound
from gemino.cli.console import check_folder, refuse_same
from gemino.errors import CallError, MediaError

if TYPE_CHECKING:
    from gemino.call.display import Display
    from gemino.call.peer import Peer
    from gemino.gallery import Gallery

OWN_GALLERY = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is seen, heard and kept of a call."""

    heading: ClassVar[str] = "What is seen, heard and kept"

    show: Annotated[
        bool, typer.Option("--show", help="A window on the call; q ends it, f fills the screen.")
    ] = False
    speaker: sound.Speakers = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write what is received: .mp4, .mkv."),
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4", help="Write the call: both pictures, both people's sound."
        ),
    ] = None
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            metavar="[FOLDER]",
            help="Keep references, encrypted, so that the next call is sharp at once: your own"
            " gallery, or one in a folder.",
        ),
    ] = None
    virtual_camera: Annotated[
        bool,
        typer.Option(
            "--virtual-camera",
            help="Offer the other side's picture to other programs, as a camera.",
        ),
    ] = False

    def check(self, *, loopback: bool) -> None:
        """Raise an error for outputs that cannot be, before anything starts."""
        if self.output is not None:
            check_writable(self.output, (".mp4", ".mkv"))
        if self.virtual_camera and loopback:
            raise CallError("--virtual-camera is for calls of two: leave --loopback out")
        if self.gallery is not None and loopback:
            raise CallError("--gallery is for calls of two: leave --loopback out")
        if self.record is None:
            return
        if loopback:
            raise CallError(
                "--record is for calls of two: with --loopback, -o FILE has what is shown"
            )
        if self.record.suffix != ".mp4":
            raise MediaError(f"{self.record}: a call is recorded as .mp4; name it so")
        check_folder(self.record)

    def open_gallery(self) -> "Gallery | None":
        """The gallery that is asked for; raises MediaError where it cannot be used."""
        from gemino.gallery import Gallery, default_folder, default_key

        if self.gallery is None:
            return None
        own = self.gallery == OWN_GALLERY
        return Gallery(default_folder() if own else Path(self.gallery), default_key())

    @contextlib.contextmanager
    def opened(self, size_px: int, *, both: bool) -> Iterator[tuple["Display", ...]]:
        """The displays that are asked for; raises MediaError where one cannot be had.

        both: our own pictures are recorded too.
        """
        from gemino.call.movie import CallMovie
        from gemino.call.virtual_camera import VirtualCamera
        from gemino.call.window import Window

        with contextlib.ExitStack() as stack:
            displays: list[Display] = []
            if self.show:
                window = Window(size_px)
                stack.callback(window.close)
                displays.append(window)
            if self.virtual_camera:
                camera = VirtualCamera(size_px)
                stack.callback(camera.close)
                displays.append(camera)
                typer.echo(f"the other side can be seen as the camera {camera.device}", err=True)
            if self.record is not None:
                movie = CallMovie(self.record, size_px, both=both)
                stack.callback(movie.close)
                displays.append(movie)
            yield tuple(displays)


def check_writable(path: Path, kinds: tuple[str, ...]) -> None:
    """Say now, not after the call, that a file cannot be written; raises MediaError."""
    if path.suffix not in kinds:
        raise MediaError(f"{path}: cannot write this kind of file; name it {kinds[0]}")
    check_folder(path)


def check_apart(clip: Path | None, written: Sequence[Path | None]) -> None:
    """Raise MediaError where a file would be written over the clip, or over another one."""
    seen: set[Path] = set()
    for path in written:
        if path is None:
            continue
        if clip is not None:
            refuse_same(clip, path)
        if path.resolve() in seen:
            raise MediaError(f"{path}: is named twice; write to another file")
        seen.add(path.resolve())


def steer(peer: "Peer", loop: asyncio.AbstractEventLoop) -> None:
    """Let the keys pressed in a window act on the call."""
    from gemino.call.window import Window
    from gemino.cli import keys

    actions: dict[str, Callable[[], None]] = {
        "quit": peer.stop,
        "mute": lambda: keys.press(peer, "m"),
    }

    def press(key: str) -> None:
        if (action := actions.get(key)) is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(action)

    for display in peer.options.displays:
        if isinstance(display, Window):
            display.on_key = press


def entitle(peer: "Peer", kbps: float) -> None:
    """Say in the titles of windows what comes in."""
    from gemino.call.window import Window

    for display in peer.options.displays:
        if isinstance(display, Window):
            display.set_title(f"Gemino: {kbps:.0f} kbps")
