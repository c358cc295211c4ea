"""A sound card without hardware: threads that hear and play blocks at 48 kHz, more or less."""

import threading
import time
from collections.abc import Callable

import numpy as np

from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.call.soundcard import (
    Deliver,
    Direction,
    OpenDevice,
    Pull,
    SoundDevice,
)
from gemino.errors import MediaError

Hear = Callable[[int, int], Samples]
"""Samples from the nth on, and how many."""


class FakeCard:
    """One microphone, which hears `hear`, and one loudspeaker, which keeps what it plays.

    ppm: how much faster than the machine's clock its crystal is. unplug, plug: as a hand would.
    played: (time.monotonic when the block sounds, samples), in order.
    """

    def __init__(self, hear: Hear | None = None, ppm: float = 0.0, block: int = 960) -> None:
        self.played: list[tuple[float, Samples]] = []
        self.opened = 0
        self._hear = hear or (lambda _at, count: np.zeros(count, np.int16))
        self._ppm = ppm
        self._block = block
        self._plugged = threading.Event()
        self._plugged.set()

    def devices(self, direction: Direction) -> list[SoundDevice]:
        there = self._plugged.is_set()
        return [SoundDevice(f"fake {direction}", "test", is_default=True)] if there else []

    def record(self, name: str | None, deliver: Deliver) -> OpenDevice:
        self._check(name)
        heard = 0

        def on_block(now: float) -> None:
            nonlocal heard
            deliver(self._hear(heard, self._block), now)
            heard += self._block

        return _FakeDevice(self, on_block)

    def play(self, name: str | None, pull: Pull) -> OpenDevice:
        self._check(name)
        return _FakeDevice(self, lambda now: self.played.append((now, pull(self._block, 0.0))))

    def unplug(self) -> None:
        self._plugged.clear()

    def plug(self) -> None:
        self._plugged.set()

    def heard_since(self, start_s: float) -> Samples:
        """What was played, as one run that starts with the first block after `start_s`."""
        blocks = [samples for at, samples in self.played if at >= start_s]
        return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)

    def _check(self, name: str | None) -> None:
        if not self._plugged.is_set() or (name is not None and "fake" not in name):
            raise MediaError("the fake card is not plugged in")
        self.opened += 1


class _FakeDevice:
    def __init__(self, card: FakeCard, on_block: Callable[[float], None]) -> None:
        self._card = card
        self._on_block = on_block
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake card", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        block_s = self._card._block / (SAMPLE_RATE_HZ * (1 + self._card._ppm * 1e-6))
        due = time.monotonic()
        while self._card._plugged.is_set() and not self._closed.is_set():
            due += block_s
            time.sleep(max(due - time.monotonic(), 0))
            self._on_block(due)
