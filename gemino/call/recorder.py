"""What the receiver shows, into files: one thread, so that neither packets nor pictures wait."""

import json
import queue
import threading
from array import array
from fractions import Fraction
from pathlib import Path

from gemino.call.display import ShownFrame
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.errors import MediaError
from gemino.media import MovieWriter

_DEPTH = 45
_NOMINAL_FPS = Fraction(30)

LogRow = dict[str, float]
"""One frame of a log: names to numbers (and truth values), as JSON lines hold them."""


class Recorder:
    """Writes shown frames and sound in a thread of its own; too many frames hold the caller back.

    movies: .mp4 or .mkv files that all get the same frames; .mp4 ones get the sound too.
    keep_log: of every frame; a call may last for hours. failure: what went wrong in the thread, if
    anything; from then on nothing is written.
    """

    def __init__(
        self, movies: list[Path], size_px: int, *, with_audio: bool, keep_log: bool = True
    ) -> None:
        self.failure: MediaError | None = None
        self._keep_log = keep_log
        self._log = array("d")
        self._queue: queue.Queue[ShownFrame | Samples | None] = queue.Queue()
        self._room = threading.Semaphore(_DEPTH)
        self._writers = []
        for path in movies:
            rate = SAMPLE_RATE_HZ if with_audio and path.suffix == ".mp4" else None
            writer = MovieWriter(path, size_px, _NOMINAL_FPS, audio_rate_hz=rate)
            self._writers.append((writer, rate is not None))
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def write(self, item: ShownFrame | Samples) -> None:
        """Append samples of sound, or a frame; a frame waits while `_DEPTH` others do."""
        if isinstance(item, ShownFrame):
            self._room.acquire()
        self._queue.put(item)

    @property
    def log(self) -> list[LogRow]:
        """A row for each frame written: timestamp, shown_s, neural, interpolated, lr_px."""
        rows = zip(*(self._log[at::5] for at in range(5)), strict=True)
        return [
            {"timestamp": int(at), "shown_s": s}
            | {"neural": bool(neural), "interpolated": bool(made), "lr_px": int(px)}
            for at, s, neural, made, px in rows
        ]

    def close(self) -> None:
        """Write what is queued and finish the files; a second call does nothing."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, ShownFrame):
                self._room.release()
            if self.failure is None:
                try:
                    self._write(item)
                except MediaError as error:
                    self.failure = error
                except Exception as error:  # a thread's edge: else the caller would wait for ever
                    self.failure = MediaError(f"what is shown cannot be recorded any more: {error}")
        for writer, _ in self._writers:
            self._finish(writer)

    def _write(self, item: ShownFrame | Samples) -> None:
        if not isinstance(item, ShownFrame):
            for writer, with_audio in self._writers:
                if with_audio:
                    writer.write_audio(item)
            return
        for writer, _ in self._writers:
            writer.write(item.frame, item.media_time_s)
        if self._keep_log:
            told = item.timestamp, item.shown_s, item.neural, item.interpolated, item.lr_px
            self._log.extend(told)

    def _finish(self, writer: MovieWriter) -> None:
        try:
            writer.close()
        except MediaError as error:
            self.failure = self.failure or error


def write_log(path: Path, rows: list[LogRow]) -> None:
    """Write one JSON object a line; raises MediaError where the file cannot be written."""
    try:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
