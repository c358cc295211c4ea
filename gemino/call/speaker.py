"""A loudspeaker for what the other side says. One that is lost is opened again when it is back."""

import logging
import threading
import time

import numpy as np

from gemino.call.audio import SoundPacket
from gemino.call.opus import Samples
from gemino.call.sound_playout import SoundPlayout
from gemino.call.soundcard import OpenDevice, PortAudioCard, SoundCard
from gemino.errors import MediaError

logger = logging.getLogger(__name__)

_SILENT_S = 1.0
_REOPEN_EVERY_S = 1.0


class Speaker:
    """Plays packets of sound in the card's thread. Raises MediaError where it cannot be opened.

    `push` and `heard` may be called from any thread.
    """

    def __init__(self, name: str | None = None, card: SoundCard | None = None) -> None:
        self.playout = SoundPlayout()
        self._name = name
        self._card = PortAudioCard() if card is None else card
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._lost = False
        self._heard: tuple[int, float] | None = None
        self._pulled_at = time.monotonic()
        self._device: OpenDevice = self._card.play(name, self._pull)
        self._watch = threading.Thread(target=self._watch_device, name="speaker", daemon=True)
        self._watch.start()

    def push(self, packet: SoundPacket, now: float) -> None:
        """Take a packet as it arrives."""
        with self._lock:
            self.playout.push(packet, now)

    def expect_copies(self, *, copies: bool) -> None:
        """Whether packets of two frames are a copy and a packet (`sound_copies`)."""
        with self._lock:
            self.playout.expect_copies(copies=copies)

    def heard(self) -> tuple[int, float] | None:
        """A timestamp and when (time.monotonic) it sounds; None where nothing is played."""
        return self._heard

    @property
    def delay_s(self) -> float:
        """Of what is played (`SoundPlayout.delay_s`)."""
        return self.playout.delay_s

    def hold_back(self, seconds: float) -> None:
        """Play so much later than packets come, at least (`SoundPlayout.hold_back_s`)."""
        with self._lock:
            self.playout.hold_back_s = seconds

    def close(self) -> None:
        """Let go of the loudspeaker; a second call does nothing."""
        self._closing.set()
        self._watch.join()

    def _pull(self, count: int, until_s: float) -> Samples:
        now = time.monotonic()
        with self._lock:
            self._pulled_at = now
            samples = self.playout.pull(count, now)
            head = self.playout.head
            self._heard = None if head is None else (head - count, now + until_s)
        return samples if len(samples) == count else np.zeros(count, np.int16)

    def _watch_device(self) -> None:
        """Notice that the loudspeaker is gone, and get it back."""
        while not self._closing.wait(_REOPEN_EVERY_S):
            if time.monotonic() - self._pulled_at < _SILENT_S and self._device.alive():
                if self._lost:
                    self._lost = False
                    logger.warning("the loudspeaker is back")
                continue
            self._open_again()
        self._device.close()

    def _open_again(self) -> None:
        if not self._lost:
            self._lost = True
            self._heard = None
            logger.warning("the loudspeaker is gone: the call goes on without it until it is back")
        self._device.close()
        try:
            self._device = self._card.play(self._name, self._pull)
        except MediaError as error:
            logger.debug("%s", error)
