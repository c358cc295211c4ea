"""Two people's sound and pictures on one line of time, for a recording of both.

Time is that of the peer that records: our own pictures and sound lie where they were taken, the
other side's where they are shown. How far its media time is from ours follows slowly what is shown
when, so neither jitter nor a slow drift of two clocks shows; its sound and its pictures move
together. No clock here: whoever asks says up to when.
"""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.frames import Frame, resize

_PANE_PX = 512
"""A larger picture is shrunk: two of 1024 px side by side would cost a core of their own."""
_DARK = 24
_HELD_FRAMES = 45
_MOST_AHEAD = 10 * SAMPLE_RATE_HZ
_SNAP_SAMPLES = SAMPLE_RATE_HZ * 30 // 1000
"""Sound that is out of place by less goes on without a gap."""
_SETTLING = 0.02


class Mixer:
    """Adds up mono sound that is placed by sample number, and gives it out in order."""

    def __init__(self) -> None:
        self._mix: NDArray[np.int32] = np.zeros(0, np.int32)
        self._taken = 0

    def add(self, at: int, samples: Samples) -> None:
        """Place `samples` from sample `at` on; what is past, or beyond ten seconds, is lost."""
        skip = min(max(self._taken - at, 0), len(samples))
        start = at + skip - self._taken
        kept = samples[skip : skip + max(_MOST_AHEAD - start, 0)]
        missing = start + len(kept) - len(self._mix)
        if not len(kept):
            return
        if missing > 0:
            self._mix = np.concatenate([self._mix, np.zeros(missing, np.int32)])
        self._mix[start : start + len(kept)] += kept

    def take(self, until: int) -> Samples:
        """The samples from where the last call ended to number `until`; silence where none are."""
        count = max(until - self._taken, 0)
        taken = self._mix[:count]
        self._mix = self._mix[count:]
        self._taken += count
        silence = np.zeros(count - len(taken), np.int32)
        return np.concatenate([taken, silence]).clip(-32768, 32767).astype(np.int16)


class _Run:
    """One side's sound, block after block, without gaps where the clocks only tremble."""

    def __init__(self, mixer: Mixer) -> None:
        self._mixer = mixer
        self._next: int | None = None

    def add(self, time_s: float, samples: Samples) -> None:
        at = round(time_s * SAMPLE_RATE_HZ)
        if self._next is not None and abs(at - self._next) < _SNAP_SAMPLES:
            at = self._next
        self._mixer.add(at, samples)
        self._next = at + len(samples)


class _Pane:
    """One side's pictures: those to come, and the one that stands."""

    def __init__(self, side_px: int) -> None:
        self.standing = np.full((side_px, side_px, 3), _DARK, np.uint8)
        self._side_px = side_px
        self._coming: deque[tuple[float, Frame]] = deque(maxlen=_HELD_FRAMES)

    def add(self, time_s: float, frame: Frame) -> None:
        self._coming.append((time_s, frame))

    def advance(self, until_s: float) -> bool:
        """Take what is due by then; whether the picture has changed."""
        newest = None
        while self._coming and self._coming[0][0] <= until_s:
            newest = self._coming.popleft()[1]
        if newest is None:
            return False
        self.standing = (
            newest if newest.shape[0] == self._side_px else _fitted(newest, self._side_px)
        )
        return True


def _fitted(frame: Frame, side_px: int) -> Frame:
    if frame.shape[0] == frame.shape[1]:
        return resize(frame, side_px)
    return np.asarray(cv2.resize(frame, (side_px, side_px)), np.uint8)


class Timeline:
    """Both sides of a call. size_px: side of the call's pictures; both: ours beside theirs.

    width_px, height_px: of the recording's pictures. start_s: where its time 0 is, known from the
    first picture of either side on.
    """

    def __init__(self, size_px: int, *, both: bool) -> None:
        self.start_s: float | None = None
        self.height_px = min(size_px, _PANE_PX)
        self._theirs = _Pane(self.height_px)
        self._ours = _Pane(self.height_px) if both else None
        self._panes = [self._theirs, *([self._ours] if self._ours else [])]
        self.width_px = self.height_px * len(self._panes)
        self._mixer = Mixer()
        self._heard, self._said = _Run(self._mixer), _Run(self._mixer)
        self._offset_s: float | None = None
        self._received = 0
        self._early: deque[Samples] = deque(maxlen=500)

    def show(self, frame: Frame, media_time_s: float, shown_s: float) -> None:
        """A picture of theirs, by its media time and by when it was shown."""
        offset_s = shown_s - media_time_s
        if self._offset_s is None:
            self._offset_s = offset_s
        self._offset_s += _SETTLING * (offset_s - self._offset_s)
        self._theirs.add(self._begin(media_time_s + self._offset_s), frame)
        while self._early:
            self._hear(self._early.popleft())

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """A picture of ours."""
        if self._ours is not None:
            self._ours.add(self._begin(taken_s), frame)

    def hear(self, samples: Samples) -> None:
        """What follows of their sound, which begins with their first picture."""
        if self._offset_s is None:
            self._early.append(samples)
        else:
            self._hear(samples)

    def hear_self(self, samples: Samples, taken_s: float) -> None:
        """Sound of ours that began at `taken_s`."""
        if self.start_s is not None:
            self._said.add(taken_s - self.start_s, samples)

    def picture(self, until_s: float) -> Frame | None:
        """How both look at `until_s` of the recording; None where nothing has changed."""
        changed = [pane.advance(until_s) for pane in self._panes]
        return np.hstack([pane.standing for pane in self._panes]) if any(changed) else None

    def sound(self, until_s: float) -> Samples:
        """The sound of both from where the last call ended to `until_s` of the recording."""
        return self._mixer.take(round(until_s * SAMPLE_RATE_HZ))

    def _hear(self, samples: Samples) -> None:
        assert self._offset_s is not None
        assert self.start_s is not None
        time_s = self._received / SAMPLE_RATE_HZ + self._offset_s - self.start_s
        self._heard.add(time_s, samples)
        self._received += len(samples)

    def _begin(self, time_s: float) -> float:
        """`time_s` on the recording; the first begins it."""
        if self.start_s is None:
            self.start_s = time_s
        return time_s - self.start_s
