"""The process that holds the window of `gemino.call.window`: SDL wants a main thread to itself.

Reads from standard input, as the window's owner writes it:

    +---------------+----------------+----------------+----------------------------+
    | kind, 1 byte  | a, 4 bytes     | b, 4 bytes     | the title, UTF-8, a bytes; |
    | TITLE, THEIRS | big endian     | big endian     | or a picture of a x b      |
    | or OURS       |                |                | pixels, RGB, rows in order |
    +---------------+----------------+----------------+----------------------------+

and writes lines to standard output: "ready" once the window is there, or "error" and why there is
none; then "key" and the name of one (`KEYS`) whenever somebody presses it. Ends with its input.
"""

import ctypes
import signal
import struct
import sys
import threading
import time
import warnings
from typing import Any, BinaryIO

HEADER = struct.Struct("!BII")
TITLE, THEIRS, OURS = range(3)
MAX_SIDE_PX = 4096
MAX_TITLE_BYTES = 1024
KEYS = ("quit", "mute")
"""Keys that the window's owner hears of: q or a closed window, m. f and Escape stay here."""

_CORNER_SHARE = 0.22
"""Side of the self view, of the picture's shorter side."""
_MARGIN_PX = 12
_BACKGROUND = (16, 16, 18, 255)
_FRAME = (235, 235, 235, 255)
_IDLE_MS = 200
_OWN_PACE_S = 0.1
"""Our own picture waits so long for the other side's, to be drawn together with it."""
_NOWHERE = ("dummy", "offscreen", "evdev")
"""Drivers of SDL that draw where nobody sees it."""

Rect = tuple[int, int, int, int]
"""x, y, width, height."""


def fit(width: int, height: int, into_width: int, into_height: int) -> Rect:
    """The largest place for a picture in the middle of a window that keeps its aspect ratio."""
    scale = min(into_width / max(width, 1), into_height / max(height, 1))
    fitted = max(round(width * scale), 1), max(round(height * scale), 1)
    return (into_width - fitted[0]) // 2, (into_height - fitted[1]) // 2, *fitted


def corner(width: int, height: int, inside: Rect) -> Rect:
    """Where a self view of `width` x `height` goes: the lower right corner of `inside`."""
    x, y, inside_width, inside_height = inside
    side = _CORNER_SHARE * min(inside_width, inside_height)
    scale = side / max(width, height, 1)
    small = max(round(width * scale), 1), max(round(height * scale), 1)
    right, lower = x + inside_width - _MARGIN_PX, y + inside_height - _MARGIN_PX
    return right - small[0], lower - small[1], *small


class _Mailbox:
    """What has come on standard input and was not looked at yet; the newest of each kind."""

    def __init__(self, stream: BinaryIO, wake: Any) -> None:
        self.closed = False
        self._stream = stream
        self._wake = wake
        self._lock = threading.Lock()
        self._newest: dict[int, tuple[int, int, bytes]] = {}
        threading.Thread(target=self._read, name="mailbox", daemon=True).start()

    def take(self) -> dict[int, tuple[int, int, bytes]]:
        with self._lock:
            newest, self._newest = self._newest, {}
        return newest

    def _read(self) -> None:
        try:
            while len(head := self._stream.read(HEADER.size)) == HEADER.size:
                kind, a, b = HEADER.unpack(head)
                if a > (MAX_TITLE_BYTES if kind == TITLE else MAX_SIDE_PX) or b > MAX_SIDE_PX:
                    break
                size = a if kind == TITLE else 3 * a * b
                data = self._stream.read(size)
                if len(data) < size:
                    break
                with self._lock:
                    self._newest[kind] = a, b, data
                self._wake()
        finally:
            self.closed = True
            self._wake()


class _Texture:
    """A picture in the renderer's memory, of whatever size came last."""

    def __init__(self, sdl: Any, renderer: Any) -> None:
        self.size = (0, 0)
        self.handle: Any = None
        self._sdl = sdl
        self._renderer = renderer

    def update(self, width: int, height: int, pixels: bytes) -> None:
        sdl = self._sdl
        if not width or not height:
            return
        if self.size != (width, height):
            if self.handle is not None:
                sdl.SDL_DestroyTexture(self.handle)
            access = sdl.SDL_TEXTUREACCESS_STREAMING
            self.handle = sdl.SDL_CreateTexture(
                self._renderer, sdl.SDL_PIXELFORMAT_RGB24, access, width, height
            )
            self.size = width, height
        sdl.SDL_UpdateTexture(self.handle, None, pixels, 3 * width)


class _Screen:
    """The window itself. Raises RuntimeError, with SDL's words, where there can be none."""

    def __init__(self, sdl: Any, side_px: int, title: str) -> None:
        self._sdl = sdl
        _begin(sdl)
        sdl.SDL_SetHint(sdl.SDL_HINT_RENDER_SCALE_QUALITY, b"linear")
        middle = sdl.SDL_WINDOWPOS_CENTERED
        flags = sdl.SDL_WINDOW_RESIZABLE | sdl.SDL_WINDOW_ALLOW_HIGHDPI
        name = title.encode()
        self._window = sdl.SDL_CreateWindow(name, middle, middle, side_px, side_px, flags)
        if not self._window:
            raise RuntimeError(_reason(sdl))
        self._renderer = sdl.SDL_CreateRenderer(self._window, -1, 0)
        if not self._renderer:
            raise RuntimeError(_reason(sdl))
        self._pictures = {kind: _Texture(sdl, self._renderer) for kind in (THEIRS, OURS)}
        self.draw()

    def take(self, newest: dict[int, tuple[int, int, bytes]]) -> bool:
        """Show what has come; whether it must be drawn at once."""
        for kind, (a, b, data) in newest.items():
            if kind == TITLE:
                self._sdl.SDL_SetWindowTitle(self._window, data)
            elif kind in self._pictures:
                self._pictures[kind].update(a, b, data)
        return THEIRS in newest

    def draw(self) -> None:
        sdl, renderer = self._sdl, self._renderer
        width, height = ctypes.c_int(), ctypes.c_int()
        sdl.SDL_GetRendererOutputSize(renderer, ctypes.byref(width), ctypes.byref(height))
        sdl.SDL_SetRenderDrawColor(renderer, *_BACKGROUND)
        sdl.SDL_RenderClear(renderer)
        whole = (0, 0, width.value, height.value)
        theirs, ours = self._pictures[THEIRS], self._pictures[OURS]
        place = whole
        if theirs.handle is not None:
            place = fit(*theirs.size, width.value, height.value)
            sdl.SDL_RenderCopy(renderer, theirs.handle, None, sdl.SDL_Rect(*place))
        if ours.handle is not None:
            # Alone, our own picture has the window; beside the other, it is small, as in a mirror.
            alone = theirs.handle is None
            small = fit(*ours.size, *whole[2:]) if alone else corner(*ours.size, place)
            x, y, w, h = small
            sdl.SDL_SetRenderDrawColor(renderer, *_FRAME)
            sdl.SDL_RenderFillRect(renderer, sdl.SDL_Rect(x - 1, y - 1, w + 2, h + 2))
            flip = sdl.SDL_FLIP_HORIZONTAL
            sdl.SDL_RenderCopyEx(renderer, ours.handle, None, sdl.SDL_Rect(*small), 0.0, None, flip)
        sdl.SDL_RenderPresent(renderer)

    def full_screen(self, on: bool | None = None) -> None:
        """Fill the screen or stop it; None: the other of the two."""
        sdl = self._sdl
        desktop = sdl.SDL_WINDOW_FULLSCREEN_DESKTOP
        if on is None:
            on = not sdl.SDL_GetWindowFlags(self._window) & desktop
        sdl.SDL_SetWindowFullscreen(self._window, desktop if on else 0)

    def press(self, event: Any) -> str:
        """The name of the key that `event` is for the owner, or nothing."""
        sdl = self._sdl
        if event.type == sdl.SDL_QUIT:
            return "quit"
        if event.type != sdl.SDL_KEYDOWN or event.key.repeat:
            return ""
        key = event.key.keysym.sym
        if key == sdl.SDLK_f:
            self.full_screen()
        elif key == sdl.SDLK_ESCAPE:
            self.full_screen(on=False)
        return {sdl.SDLK_q: "quit", sdl.SDLK_m: "mute"}.get(key, "")


def _begin(sdl: Any) -> None:
    """Reach the window system; raises RuntimeError, with SDL's words, where there is none."""
    if sdl.SDL_Init(sdl.SDL_INIT_VIDEO):
        raise RuntimeError(_reason(sdl))
    if sdl.SDL_GetCurrentVideoDriver().decode() in _NOWHERE:
        sdl.SDL_Quit()
        raise RuntimeError("there is no display")


def _reason(sdl: Any) -> str:
    return str(sdl.SDL_GetError().decode("utf-8", "replace"))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _library() -> Any:
    """SDL; raises ImportError where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells which copy of SDL it found
        import sdl2
    return sdl2


def probe() -> int:
    """0 where there is a display for a window, else 2: the exit status of a process of its own."""
    try:
        _begin(_library())
    except (ImportError, RuntimeError):
        return 2
    return 0


def _open(side_px: int, title: str) -> tuple[Any, _Screen] | None:
    try:
        sdl = _library()
    except ImportError:
        _tell("error it takes PySDL2: pip install 'gemino[window]'")
        return None
    try:
        return sdl, _Screen(sdl, side_px, title)
    except RuntimeError as error:
        _tell(f"error {' '.join(str(error).split())}")
        return None


def main() -> int:
    """Hold the window; the arguments are the side of its first size in pixels and its title."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its owner decides when the call ends
    found = _open(int(sys.argv[1]), sys.argv[2])
    if found is None:
        return 2
    sdl, screen = found
    wake = sdl.SDL_Event()
    wake.type = sdl.SDL_RegisterEvents(1)
    mailbox = _Mailbox(sys.stdin.buffer, lambda: sdl.SDL_PushEvent(ctypes.byref(wake)))
    _tell("ready")
    event = sdl.SDL_Event()
    drawn_at = 0.0
    while not mailbox.closed:
        there = sdl.SDL_WaitEventTimeout(ctypes.byref(event), _IDLE_MS)
        while there:
            if name := screen.press(event):
                _tell(f"key {name}")
            there = sdl.SDL_PollEvent(ctypes.byref(event))
        if screen.take(mailbox.take()) or time.monotonic() - drawn_at >= _OWN_PACE_S:
            screen.draw()
            drawn_at = time.monotonic()
    sdl.SDL_Quit()
    return 0
