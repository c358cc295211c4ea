"""A microphone as a source's sound: blocks of 20 ms on the call's own clock.

A sound card counts samples by a crystal of its own. Left alone it would drift away from the
pictures, whose times are this machine's: by 0.36 s in half an hour at 200 ppm. What it gives is
therefore read a little faster or slower, so that sample n is always what was heard n / 48000 s
after the call's start.

A microphone that is lost in mid-call, or stalls, is silence until it is back.
"""

import logging
import threading
from dataclasses import dataclass, field, replace

import numpy as np

from gemino.call.kept_open import KeptOpen
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.call.resampler import Resampler
from gemino.call.soundcard import PortAudioCard, SoundCard
from gemino.call.sources import Feed, Source
from gemino.call.tracks import MediaClock
from gemino.errors import MediaError

logger = logging.getLogger(__name__)

BLOCK_SAMPLES = 960
_LATEST_S = 0.15
"""A block that is not whole so long after its end goes out as far as it is there."""
_JUMP_S = 0.08
"""Samples that are off by more were lost, or are of another time: silence or nothing for them."""
_GAIN_PER_S, _MOST_FASTER = 0.05, 0.002
_SMOOTHING = 0.02
"""How much of each new look at the clock counts: callbacks come unevenly."""
_MOST_WAITING = SAMPLE_RATE_HZ


class Alignment:
    """Samples as a card counts them, placed on the call's clock. Not for two threads at once.

    position: samples since the call's start that have been taken.
    """

    def __init__(self) -> None:
        self.position = 0
        self._silence = 0
        """Samples before those in the queue, of a time when nothing was heard."""
        self._queue = Resampler()
        self._off_s: float | None = None

    def ready(self, count: int) -> bool:
        """Whether `take` would give only what was heard."""
        return self._silence + len(self._queue) >= self._queue.needs(count, 1 + _MOST_FASTER)

    def put(self, samples: Samples, heard_s: float) -> None:
        """Take samples of which the last was heard `heard_s` after the call's start."""
        there = self.position + self._silence + self._queue.held + len(samples)
        off = there - round(heard_s * SAMPLE_RATE_HZ)
        if self._off_s is None or abs(off) > _JUMP_S * SAMPLE_RATE_HZ:
            self._off_s = 0.0
            if off > 0:  # heard before the call, or before what is already there
                samples = samples[off:]
            elif not len(self._queue):
                self._silence -= off
            else:
                self._queue.put(np.zeros(min(-off, _MOST_WAITING), np.int16))
        else:
            self._off_s += _SMOOTHING * (off / SAMPLE_RATE_HZ - self._off_s)
        self._queue.put(samples)
        if len(self._queue) > _MOST_WAITING:  # nobody listens
            self._queue, self._off_s = Resampler(), None

    def take(self, count: int) -> Samples:
        """The next `count` samples, silence where they are missing."""
        off_s = self._off_s or 0.0
        speed = 1 + min(max(off_s * _GAIN_PER_S, -_MOST_FASTER), _MOST_FASTER)
        silent = min(self._silence, count)
        self._silence -= silent
        self.position += count
        return np.concatenate([np.zeros(silent, np.int16), self._queue.take(count - silent, speed)])


class Microphone:
    """Reads a microphone in the card's thread; an audio track's sound.

    Raises MediaError where it cannot be opened at the start.
    """

    def __init__(
        self,
        name: str | None,
        clock: MediaClock,
        seconds: float | None = None,
        card: SoundCard | None = None,
    ) -> None:
        self._clock = clock
        self._samples_left = None if seconds is None else round(seconds * SAMPLE_RATE_HZ)
        card = PortAudioCard() if card is None else card
        self._alignment = Alignment()
        self._changed = threading.Condition()
        self._closed = False
        self._device = KeptOpen("microphone", lambda: card.record(name, self._deliver))
        self._device.start()

    def get(self) -> Samples | None:
        """The next 20 ms, silence where the microphone has nothing; None at the end."""
        with self._changed:
            end_s = (self._alignment.position + BLOCK_SAMPLES) / SAMPLE_RATE_HZ
            while not self.ready():
                patience_s = _LATEST_S - self._clock.late_s(end_s)
                if patience_s <= 0:
                    break
                self._changed.wait(min(patience_s, _LATEST_S))
            left = self._samples_left
            if self._closed or (left is not None and self._alignment.position >= left):
                return None
            return self._alignment.take(BLOCK_SAMPLES)

    def ready(self) -> bool:
        """Whether `get` would not wait."""
        return self._closed or self._alignment.ready(BLOCK_SAMPLES)

    def close(self) -> None:
        """Let go of the microphone."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._device.close()

    def _deliver(self, samples: Samples, heard_at: float) -> None:
        with self._changed:
            self._device.used()
            if self._clock.running:
                self._alignment.put(samples, heard_at - self._clock.start_s)
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class WithMicrophone:
    """A source's pictures with what a microphone hears, in place of its own sound.

    name: None for the default one. needed: raise MediaError where there is none; else say so, and
    send no sound.
    """

    source: Source
    name: str | None = None
    needed: bool = False
    card: SoundCard = field(default_factory=PortAudioCard)

    def open(self, size_px: int, kbps: float, seconds: float | None) -> Feed:
        """Open both; raises MediaError as the source does."""
        feed = self.source.open(size_px, kbps, seconds)
        try:
            sound = Microphone(self.name, feed.clock, seconds, self.card)
        except MediaError as error:
            if self.needed:
                feed.close()
                raise
            logger.warning("no sound is sent: %s", error)
            return feed
        if feed.sound is not None:
            feed.sound.close()
        return replace(feed, sound=sound)
