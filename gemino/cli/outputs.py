"""What `gemino-call` shows a call on: its options, opened for the time of a call."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gemino.call.display import Display
    from gemino.call.peer import Peer

Show = Annotated[
    bool,
    typer.Option("--show", help="A window on the call; q ends it, f fills the screen."),
]


@contextlib.contextmanager
def opened(size_px: int, *, show: bool) -> Iterator[tuple["Display", ...]]:
    """The displays that are asked for; raises MediaError where one cannot be had."""
    from gemino.call.window import Window

    with contextlib.ExitStack() as stack:
        displays: list[Display] = []
        if show:
            window = Window(size_px)
            stack.callback(window.close)
            displays.append(window)
        yield tuple(displays)


def steer(peer: "Peer", loop: asyncio.AbstractEventLoop) -> None:
    """Let the keys pressed in a window act on the call."""
    from gemino.call.window import Window

    actions: dict[str, Callable[[], None]] = {"quit": peer.stop}

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
