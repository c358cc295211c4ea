"""Keys that steer a call from the terminal it runs in."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from gemino.call.desktop import DesktopSource
from gemino.call.peer import Peer
from gemino.errors import GeminoError

logger = logging.getLogger(__name__)

_SHARING = "share the screen"

HELP = "keys: m mute, v camera off, p pause, s share the screen, q quit"


def press(peer: Peer, key: str) -> None:
    """Do what `key` means; others mean nothing."""
    counters = None if peer.outgoing is None else peer.outgoing.counters
    if key == "q":
        peer.stop()
    elif counters is not None and key == "m":
        peer.mute(not counters.sound_off)
    elif counters is not None and key == "v":
        peer.hide(not counters.picture_off)
    elif counters is not None and key == "p":
        peer.pause(not (counters.picture_off and counters.sound_off))
    elif key == "s" and not any(task.get_name() == _SHARING for task in asyncio.all_tasks()):
        asyncio.get_running_loop().create_task(_share(peer), name=_SHARING)


async def _share(peer: Peer) -> None:
    """Share the screen, or end that."""
    shares = peer.outgoing is not None and peer.outgoing.shares
    try:
        await peer.share(None if shares else DesktopSource())
    except GeminoError as error:
        logger.warning("%s", error)


@contextlib.contextmanager
def listening(peer: Peer, loop: asyncio.AbstractEventLoop) -> Iterator[bool]:
    """Take keys from standard input for a while, where that is a terminal; tells whether it is."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield False
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read() -> None:
        try:
            typed = os.read(terminal, 64)
        except OSError:
            typed = b""
        if not typed:  # the terminal is gone, and would be ready for ever
            loop.remove_reader(terminal)
        for key in typed.decode("ascii", "ignore"):
            press(peer, key.lower())

    try:
        tty.setcbreak(terminal, termios.TCSANOW)  # Ctrl-C stays what it is
        loop.add_reader(terminal, read)
        yield True
    finally:
        loop.remove_reader(terminal)
        with contextlib.suppress(termios.error):  # it is gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)
