"""A microphone or a loudspeaker that is opened again whenever it is lost."""

import logging
import threading
import time
from collections.abc import Callable

from gemino.call.soundcard import OpenDevice
from gemino.errors import MediaError

logger = logging.getLogger(__name__)

_SILENT_S = 1.0
_REOPEN_EVERY_S = 1.0


class KeptOpen:
    """what: the device, for people. open_device: raises MediaError. on_lost: called when it is."""

    def __init__(
        self,
        what: str,
        open_device: Callable[[], OpenDevice],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._what = what
        self._open_device = open_device
        self._on_lost = on_lost
        self._lost = False
        self._closing = threading.Event()
        self._used_at = time.monotonic()
        self._device: OpenDevice | None = None
        self._thread = threading.Thread(target=self._watch, name=what, daemon=True)

    def start(self) -> None:
        """Open it for the first time; raises MediaError."""
        self._device = self._open_device()
        self._used_at = time.monotonic()
        self._thread.start()

    def used(self) -> None:
        """It gives or takes sound at this moment; to be called from its thread."""
        self._used_at = time.monotonic()

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        self._closing.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closing.wait(_REOPEN_EVERY_S):
            device = self._device
            idle_s = time.monotonic() - self._used_at
            if device is not None and idle_s < _SILENT_S and device.alive():
                if self._lost:
                    self._lost = False
                    logger.warning("the %s is back", self._what)
                continue
            self._open_again()
        if self._device is not None:
            self._device.close()

    def _open_again(self) -> None:
        if not self._lost:
            self._lost = True
            self._on_lost()
            logger.warning(
                "the %s is gone: the call goes on without it until it is back", self._what
            )
        if self._device is not None:
            self._device.close()
        try:
            self._device = self._open_device()
        except MediaError as error:
            logger.debug("%s", error)
