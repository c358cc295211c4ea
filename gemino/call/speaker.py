"""A loudspeaker for what the other side says. One that is lost is opened again when it is back."""

import threading
import time

import numpy as np

from gemino.call.audio import SoundPacket
from gemino.call.kept_open import KeptOpen
from gemino.call.opus import Samples
from gemino.call.sound_playout import SoundPlayout
from gemino.call.soundcard import PortAudioCard, SoundCard


class Speaker:
    """Plays packets of sound in the card's thread. Raises MediaError where it cannot be opened.

    `push` and `heard` may be called from any thread.
    """

    def __init__(self, name: str | None = None, card: SoundCard | None = None) -> None:
        self.playout = SoundPlayout()
        self._lock = threading.Lock()
        self._heard: tuple[int, float] | None = None
        card = PortAudioCard() if card is None else card
        self._device = KeptOpen("loudspeaker", lambda: card.play(name, self._pull), self._forget)
        self._device.start()

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
        self._device.close()

    def _pull(self, count: int, until_s: float) -> Samples:
        now = time.monotonic()
        with self._lock:
            self._device.used()
            samples = self.playout.pull(count, now)
            head = self.playout.head
            self._heard = None if head is None else (head - count, now + until_s)
        return samples if len(samples) == count else np.zeros(count, np.int16)

    def _forget(self) -> None:
        """Nothing is played any more."""
        self._heard = None
