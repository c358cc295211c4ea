"""A window on the call: the other side's picture, our own in its corner.

The window lives in a process of its own (`screen`): a window system wants a main thread, and what
it does there, a resize for example, must not hold up the call. Frames go to it through a pipe that
one thread fills with the newest of them; what comes faster than it is drawn is left out.
"""

import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np

from gemino.call import screen
from gemino.call.display import ShownFrame
from gemino.errors import MediaError
from gemino.frames import Frame

logger = logging.getLogger(__name__)

_OPEN_S = 20.0
_CLOSE_S = 3.0
_CHILD = "import sys; from gemino.call.screen import main; sys.exit(main())"
_PROBE = "import sys; from gemino.call.screen import probe; sys.exit(probe())"
_INSTEAD = "-o FILE writes what is received instead"


def is_possible() -> bool:
    """Whether there is a display to open a window on, and what it takes is installed."""
    quiet = subprocess.DEVNULL
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], stdout=quiet, stderr=quiet, timeout=_OPEN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


class Window:
    """A `Display` on the screen.

    on_key: called in a thread of the window's with the name of a key (`screen.KEYS`); set it before
    the call. size_px: side of the window at first. Raises MediaError where no window can be had.
    """

    def __init__(self, size_px: int, title: str = "Gemino") -> None:
        self.on_key: Callable[[str], None] | None = None
        self._newest: dict[int, Frame | str] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(size_px), title],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the call to hear
        )
        self._wait_until_open()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._write, "window"), (self._listen, "window-keys"))
        ]
        for thread in self._threads:
            thread.start()

    def _wait_until_open(self) -> None:
        assert self._process.stdout is not None
        patience = threading.Timer(_OPEN_S, self._process.kill)
        patience.start()
        try:
            line = self._process.stdout.readline(screen.MAX_TITLE_BYTES).decode().strip()
        finally:
            patience.cancel()
        if line == "ready":
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._end()
        self._process.stdout.close()
        why = line.removeprefix("error ") or f"nothing came of it within {_OPEN_S:g} s"
        raise MediaError(f"no window can be opened ({why}); {_INSTEAD}")

    def show(self, shown: ShownFrame) -> None:
        """Show a frame of the other side."""
        self._put(screen.THEIRS, shown.frame if shown.whole is None else shown.whole)

    def show_self(self, frame: Frame, taken_s: float) -> None:  # noqa: ARG002 - newest wins
        """Show a frame of our own."""
        self._put(screen.OURS, frame)

    def set_title(self, title: str) -> None:
        """Say something beside the window's name."""
        self._put(screen.TITLE, title)

    def close(self) -> None:
        """Close the window."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._end()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def _end(self) -> None:
        """See to it that the process is gone, whose input ends."""
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _put(self, kind: int, what: Frame | str) -> None:
        with self._changed:
            self._newest[kind] = what
            self._changed.notify()

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            while True:
                with self._changed:
                    while not self._newest and not self._closing:
                        self._changed.wait()
                    if self._closing:
                        return
                    newest, self._newest = self._newest, {}
                for kind, what in newest.items():
                    pipe.write(_head(kind, what))
                    pipe.write(_body(what))
                pipe.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while line := pipe.readline(screen.MAX_TITLE_BYTES):
                kind, _, key = line.decode("utf-8", "replace").strip().partition(" ")
                if kind == "key" and key in screen.KEYS and self.on_key is not None:
                    self.on_key(key)
        if not self._closing:
            logger.warning("the window is gone; the call goes on without it")


def _head(kind: int, what: Frame | str) -> bytes:
    if isinstance(what, str):
        return screen.HEADER.pack(kind, len(_body(what)), 0)
    return screen.HEADER.pack(kind, what.shape[1], what.shape[0])


def _body(what: Frame | str) -> bytes | memoryview:
    if isinstance(what, str):
        return what.encode()[: screen.MAX_TITLE_BYTES]
    return np.ascontiguousarray(what).data.cast("B")
