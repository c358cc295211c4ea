"""What `gemino-call` shows a call on: its options, opened for the time of a call."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemino.cli.console import refuse_same
from gemino.errors import CallError, MediaError

if TYPE_CHECKING:
    from gemino.call.display import Display
    from gemino.call.peer import Peer
    from gemino.gallery import Gallery

Show = Annotated[
    bool,
    typer.Option("--show", help="A window on the call; q ends it, f fills the screen."),
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="FILE.mp4", help="Write the call: both pictures, both people's sound."),
]

VirtualCamera = Annotated[
    bool,
    typer.Option("--virtual-camera", help="Be a camera for other programs: the other side's face."),
]

OWN_GALLERY = ""
GalleryFolder = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        metavar="[FOLDER]",
        help="Keep references, encrypted, so that the next call is sharp at once: your own gallery,"
        " or one in a folder.",
    ),
]


def open_gallery(folder: str | None) -> "Gallery | None":
    """The gallery that is asked for; raises MediaError where it cannot be used."""
    from gemino.gallery import Gallery, default_folder, default_key

    if folder is None:
        return None
    return Gallery(default_folder() if folder == OWN_GALLERY else Path(folder), default_key())


def check(
    loopback_clip: str | None, record: Path | None, gallery: str | None, *, virtual_camera: bool
) -> None:
    """Raise an error for outputs that cannot be, before anything starts."""
    if virtual_camera and loopback_clip is not None:
        raise CallError("--virtual-camera is for calls of two: leave --loopback out")
    if gallery is not None and loopback_clip is not None:
        raise CallError("--gallery is for calls of two: leave --loopback out")
    if record is None:
        return
    if loopback_clip is not None:
        raise CallError("--record is for calls of two: with --loopback, -o FILE has what is shown")
    if record.suffix != ".mp4":
        raise MediaError(f"{record}: a call is recorded as .mp4; name it so")
    if not record.parent.is_dir():
        raise MediaError(f"{record}: there is no folder {record.parent}; make it first")


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


@contextlib.contextmanager
def opened(
    size_px: int, *, show: bool, record: Path | None, both: bool, virtual_camera: bool
) -> Iterator[tuple["Display", ...]]:
    """The displays that are asked for; raises MediaError where one cannot be had.

    both: our own pictures are recorded too.
    """
    from gemino.call import virtual_camera as cameras
    from gemino.call.movie import CallMovie
    from gemino.call.window import Window

    with contextlib.ExitStack() as stack:
        displays: list[Display] = []
        if show:
            window = Window(size_px)
            stack.callback(window.close)
            displays.append(window)
        if virtual_camera:
            camera = cameras.VirtualCamera(size_px)
            stack.callback(camera.close)
            displays.append(camera)
            typer.echo(f"the other side can be seen as the camera {camera.device}", err=True)
        if record is not None:
            movie = CallMovie(record, size_px, both=both)
            stack.callback(movie.close)
            displays.append(movie)
        yield tuple(displays)


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
