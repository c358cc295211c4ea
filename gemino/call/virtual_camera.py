"""The other side of a call as a camera that other programs can choose.

The square picture stands in the middle of a 16:9 one: what shows cameras cuts other shapes.
"""

import logging
import sys
import threading
from typing import Any

import numpy as np

from gemino.call.display import ShownFrame
from gemino.errors import MediaError
from gemino.frames import Frame, resize

logger = logging.getLogger(__name__)

_FPS = 30
_REPEAT_S = 0.2
"""So often the last picture is sent again: programs take a camera that falls silent for broken."""
_JOIN_S = 3.0
_INSTALL = "pip install 'gemino[virtual-camera]'"
_HOW = {
    "linux": "load its driver: sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback",
    "darwin": "install OBS 30 or newer, start it once and press Start Virtual Camera",
    "win32": "install OBS: its virtual camera is the driver",
}


class VirtualCamera:
    """A `Display` that is a camera. device: its name, as the driver has it.

    size_px: side of the call's pictures. Raises MediaError where there is no driver for one.
    """

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        width = round(size_px * 16 / 9 / 16) * 16
        self._canvas: Frame = np.zeros((size_px, width, 3), np.uint8)
        self._camera = _open(width, size_px)
        self.device: str = self._camera.device
        self._newest: Frame | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="virtual-camera", daemon=True)
        self._thread.start()

    def show(self, shown: ShownFrame) -> None:
        """Send a frame of the other side."""
        with self._changed:
            self._newest = shown.frame
            self._changed.notify()

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """Ours is none of its pictures."""

    def close(self) -> None:
        """Give the device back."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            while not self._closing:
                with self._changed:
                    if self._newest is None and not self._closing:
                        self._changed.wait(_REPEAT_S)
                    newest, self._newest = self._newest, None
                if newest is not None:
                    self._draw(newest)
                self._camera.send(self._canvas)
        except RuntimeError as error:
            logger.warning("the virtual camera is gone, the call goes on: %s", error)
        finally:
            self._camera.close()

    def _draw(self, frame: Frame) -> None:
        left = (self._canvas.shape[1] - self._size_px) // 2
        self._canvas[:, left : left + self._size_px] = resize(frame, self._size_px)


def _open(width: int, height: int) -> Any:
    try:
        import pyvirtualcam
    except ImportError:
        raise MediaError(f"a virtual camera takes pyvirtualcam: {_INSTALL}") from None
    try:
        return pyvirtualcam.Camera(width, height, _FPS, fmt=pyvirtualcam.PixelFormat.RGB)
    except RuntimeError as error:
        how = _HOW.get(sys.platform, "install its driver")
        said = " ".join(str(error).split())
        raise MediaError(f"no virtual camera can be had ({said}); {how}") from None
