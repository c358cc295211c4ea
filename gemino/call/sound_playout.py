"""Received speech for a loudspeaker: what to play now, although packets come unevenly.

The rules:

- The *delay* of what is played is counted from where it would be if every packet were played as it
  arrives, and arrived as fast as the fastest of the last ten seconds (the *base*, which follows the
  slow drift of two clocks against each other).
- The delay aimed at is what 97 % of the packets of the last ten seconds needed, and one block of
  the loudspeaker more: 40 to 200 ms. Lip sync may ask for more (`hold_back`).
- While packets are lost that the next one has a copy of, the delay is a packet longer, for the copy
  to come in time.
- What is off by 5 ms or more is put right by playing at most 1 % faster or slower, and at once
  where nobody speaks. That also takes up the drift.
- Where a packet is missing when its turn has come, speech is made up from what came before, or
  taken from the copy in the next packet (`audio.SpeechStream`). A packet that was only late is
  played after that, and the delay has grown.
- More than 0.3 s too late, say after a stall of the network, is jumped over.

No socket, no device and no clock: `now` (seconds, monotonic) is an argument.
"""

from collections import deque

import numpy as np

from gemino.call.audio import SoundPacket, SpeechStream, is_quiet
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.call.resampler import Resampler

MIN_DELAY_S, MAX_DELAY_S = 0.04, 0.2
MAX_HELD_BACK_S = 0.4
_WINDOW_S = 10.0
_SHARE = 0.97
_MARGIN_S = 0.01
_FEW = 10
_MOST_ARRIVALS = 1_000
"""Twice what comes in ten seconds, by packets of 20 ms: a flood must not cost more."""
_DEAD_BAND_S, _QUIET_BAND_S = 0.005, 0.01
_GAIN_PER_S, _MOST_FASTER = 0.2, 0.01
_JUMP_S = 0.3
_ANEW_S = 2.0
"""Timestamps that are off by more belong to another run of sound."""
_IDLE_SAMPLES = SAMPLE_RATE_HZ
"""After so much made-up sound nobody is sending; DTX sends every 400 ms."""
_ALL = 1 << 62


class ArrivalTimes:
    """How late packets come, over the last ten seconds."""

    def __init__(self) -> None:
        self._transits: deque[tuple[float, float]] = deque(maxlen=_MOST_ARRIVALS)

    def __len__(self) -> int:
        return len(self._transits)

    def add(self, timestamp: int, now: float) -> None:
        """A packet with this timestamp arrived."""
        transit = now - timestamp / SAMPLE_RATE_HZ
        if self._transits and abs(transit - self._transits[-1][1]) > _ANEW_S:
            self._transits.clear()
        self._transits.append((now, transit))
        while now - self._transits[0][0] > _WINDOW_S:
            self._transits.popleft()

    @property
    def base_s(self) -> float:
        """Arrival minus media time of the fastest; 0 before the first."""
        return min((transit for _, transit in self._transits), default=0.0)

    def needed_s(self) -> float:
        """The delay with which 97 % of the packets would have come in time."""
        if len(self._transits) < _FEW:
            return MIN_DELAY_S
        ranked = sorted(transit for _, transit in self._transits)
        return ranked[int(_SHARE * (len(ranked) - 1))] - ranked[0]


class SoundPlayout:
    """Packets in as they come, samples out at the loudspeaker's pace. Not for two threads at once.

    hold_back_s: delay that is wanted anyhow (lip sync). delay_s: of what is played now. made_up:
    samples played that nobody sent. late: packets that came when their turn was over.
    """

    def __init__(self) -> None:
        self.hold_back_s = 0.0
        self.delay_s = 0.0
        self.target_s = MIN_DELAY_S
        self.made_up = 0
        self.late = 0
        self._stream = SpeechStream()
        self._queue = Resampler()
        self._arrivals = ArrivalTimes()
        self._needed_s = MIN_DELAY_S
        self._base_s = 0.0
        self._seen_lost, self._lost_at = 0, -_WINDOW_S
        self._gap = 0
        """Samples made up since the last packet."""
        self._idle = True

    def expect_copies(self, *, copies: bool) -> None:
        """Whether packets of two frames are a copy and a packet; from the start they are."""
        self._stream.copies = copies

    @property
    def lost(self) -> int:
        """Packets that had not come when their turn was there."""
        return self._stream.lost

    @property
    def recovered(self) -> int:
        """Those of them whose copy came in time."""
        return self._stream.recovered

    @property
    def head(self) -> int | None:
        """Timestamp, counted on, of the sample to be played next; None before there is one."""
        if self._stream.position is None or self._idle:
            return None
        return self._stream.position + self._gap - self._queue.held

    def push(self, packet: SoundPacket, now: float) -> None:
        """Take a packet as it arrives."""
        timestamp = self._stream.put(packet)
        if timestamp is None:
            self.late += 1
            return
        self._arrivals.add(timestamp, now)
        self._base_s = self._arrivals.base_s
        self._needed_s = self._arrivals.needed_s()
        if self._stream.lost > self._seen_lost:
            self._seen_lost, self._lost_at = self._stream.lost, now
        if now - self._lost_at < _WINDOW_S:
            self._needed_s += self._stream.copy_samples / SAMPLE_RATE_HZ

    def pull(self, count: int, now: float) -> Samples:
        """The next `count` samples to play."""
        block_s = count / SAMPLE_RATE_HZ
        needed_s = min(max(self._needed_s + block_s + _MARGIN_S, MIN_DELAY_S), MAX_DELAY_S)
        self.target_s = max(needed_s, min(self.hold_back_s, MAX_HELD_BACK_S))
        if self._idle and not self._begins(now, block_s):
            return np.zeros(count, np.int16)
        off_s = self._measure(now)
        if off_s > _JUMP_S:
            off_s = self._jump(off_s, now)
        speed = 1.0
        if abs(off_s) >= _DEAD_BAND_S:
            speed += min(max(off_s * _GAIN_PER_S, -_MOST_FASTER), _MOST_FASTER)
        while len(self._queue) < self._queue.needs(count, speed):
            self._fill(off_s)
            off_s = self._measure(now)
        if self._gap > _IDLE_SAMPLES:
            self._idle = True
        return self._queue.take(count, speed)

    def _measure(self, now: float) -> float:
        """How much later than it should be is what comes next."""
        head = self.head
        assert head is not None
        self.delay_s = now - head / SAMPLE_RATE_HZ - self._base_s
        return self.delay_s - self.target_s

    def _begins(self, now: float, block_s: float) -> bool:
        """Whether the first packet there is has its turn within this block."""
        first = self._stream.first
        if first is None:
            return False
        early_s = self.target_s - (now - first / SAMPLE_RATE_HZ - self._base_s)
        if early_s >= block_s:
            return False
        self._queue = Resampler()
        self._queue.put(np.zeros(max(round(early_s * SAMPLE_RATE_HZ), 0), np.int16))
        self._gap = _ALL  # what lies before it is not made up
        self._idle = False
        self._fill(0.0)
        return True

    def _jump(self, off_s: float, now: float) -> float:
        """Leave out what is too late; returns how far it is off then."""
        self._queue.drop(int(off_s * SAMPLE_RATE_HZ))
        off_s = self._measure(now)
        while off_s > _QUIET_BAND_S and len(self._stream):
            self._gap = max(self._gap, _IDLE_SAMPLES)
            speech = self._stream.skip(self._gap)
            self._gap = 0
            if speech is not None:
                self._queue.put(speech.samples)
            self._queue.drop(int(off_s * SAMPLE_RATE_HZ))
            off_s = self._measure(now)
        return off_s

    def _fill(self, off_s: float) -> None:
        """Append what comes next, or something made up; more or less of it where it is quiet."""
        speech = self._stream.take(self._gap) or self._stream.skip(self._gap)
        if speech is None:
            samples = self._stream.conceal()
            self._gap += len(samples)
            self.made_up += len(samples)
            self._queue.put(samples)
            return
        self._gap = 0
        samples = speech.samples
        if abs(off_s) > _QUIET_BAND_S and is_quiet(samples):
            length = min(max(len(samples) - int(off_s * SAMPLE_RATE_HZ), 0), 4 * len(samples))
            samples = np.resize(samples, length)
        self._queue.put(samples)
