"""A recording of a whole call: both pictures side by side, both people's sound, in one file.

The file is a fragmented MP4: whatever ends the call, it plays up to its last second. What cannot be
written, because the disk is full for example, ends the recording with a line and not the call.
"""

import logging
import threading
import time
from fractions import Fraction
from pathlib import Path

from gemino.call.display import ShownFrame
from gemino.call.mixing import Timeline
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.media import MovieWriter

logger = logging.getLogger(__name__)

_FPS = 30
_BEHIND_S = 0.5
"""How far the file is behind: sound and pictures of one moment come at different times."""
_STANDING_S = 0.5
"""A picture in which nothing changes is written so often, or players wait for one."""
_MOST_BEHIND_S = 2.0
_TICK_S = 0.05


class CallMovie:
    """A `Display` and `Listener` that writes what it gets into `path` (.mp4), in its own thread.

    both: there are pictures of ours, to be shown beside theirs. failure: why nothing more is
    written, if so. Raises MediaError where the file cannot be begun.
    """

    def __init__(self, path: Path, size_px: int, *, both: bool) -> None:
        self.path = path
        self.failure: MediaError | None = None
        self._timeline = Timeline(size_px, both=both)
        sides = self._timeline.width_px, self._timeline.height_px
        self._writer = MovieWriter(path, sides, Fraction(_FPS), audio_rate_hz=SAMPLE_RATE_HZ)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ticks = 0
        self._standing: Frame | None = None
        self._written_s = 0.0
        self._thread = threading.Thread(target=self._run, name="movie", daemon=True)
        self._thread.start()

    def show(self, shown: ShownFrame) -> None:
        """Record a picture of theirs."""
        with self._lock:
            self._timeline.show(shown.frame, shown.media_time_s, shown.shown_s)

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """Record a picture of ours."""
        with self._lock:
            self._timeline.show_self(frame, taken_s)

    def hear(self, samples: Samples) -> None:
        """Record what follows of their sound."""
        with self._lock:
            self._timeline.hear(samples)

    def hear_self(self, samples: Samples, taken_s: float) -> None:
        """Record sound of ours."""
        with self._lock:
            self._timeline.hear_self(samples, taken_s)

    def close(self) -> None:
        """Write what is there and finish the file; a second call does nothing."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing.wait(_TICK_S):
                self._advance(time.monotonic() - _BEHIND_S)
            self._advance(time.monotonic())
        except MediaError as error:
            self._fail(error)
        try:
            self._writer.close()
        except MediaError as error:
            self._fail(error)

    def _fail(self, error: MediaError) -> None:
        if self.failure is None:
            self.failure = error
            logger.warning("the recording stops, the call goes on: %s", error)

    def _advance(self, now: float) -> None:
        """Write everything up to `now`, picture by picture."""
        with self._lock:
            start_s = self._timeline.start_s
        if start_s is None:
            return
        last = int((now - start_s) * _FPS)
        # A disk or a processor that is too slow costs pictures, not memory.
        self._ticks = max(self._ticks, last - int(_MOST_BEHIND_S * _FPS))
        while self._ticks <= last:
            time_s = self._ticks / _FPS
            with self._lock:
                # Half a step ahead, so that rounding to steps delays no more than it hastens.
                picture = self._timeline.picture(time_s + 0.5 / _FPS)
                sound = self._timeline.sound(time_s)
            self._write(picture, time_s)
            self._writer.write_audio(sound)
            self._ticks += 1

    def _write(self, picture: Frame | None, time_s: float) -> None:
        if picture is not None:
            self._standing = picture
        elif time_s - self._written_s < _STANDING_S:
            return
        if self._standing is not None:
            self._writer.write(self._standing, time_s)
            self._written_s = time_s
