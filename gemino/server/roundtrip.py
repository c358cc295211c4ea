"""The camera's pictures through the whole codec and back, at the rate that the page asks for.

One thread decodes what the camera sends and codes the newest of it (`coder`). As in any call,
`call.receiver.Viewer` decodes and rebuilds, skips what comes too late, and draws smaller pictures
where the machine is too slow. There is no network in between, but what would cross it is counted,
and a reference arrives as late as its bytes would take.

It lasts as long as the server, because a model takes seconds to load; pages come and go
(`start`, `stop`). What was seen of one is forgotten before the next.
"""

import logging
import threading
import time
from collections import deque
from pathlib import Path
from statistics import median

from aiortc import MediaStreamTrack
from aiortc.codecs.base import Encoder

from gemino.call.adaptation import split
from gemino.call.display import ShownFrame
from gemino.call.jitter import Picture
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.call.receiver import Viewer
from gemino.call.stats import Counters
from gemino.config import LadderSteps
from gemino.errors import CodecError, GeminoError
from gemino.frames import from_video_frame
from gemino.runtime import Runtime
from gemino.server.camera import CameraStream, Taken
from gemino.server.coder import LR_CODEC, Coder, most_fps
from gemino.server.messages import DEFAULT_KBPS, PageStats, Settings
from gemino.server.sound import Echo
from gemino.server.trip import Mode, Show
from gemino.server.view import View, as_jpeg
from gemino.server.windows import Window
from gemino.zoo import find

logger = logging.getLogger(__name__)

_EARLY = 0.9
"""A picture that comes so much of the interval after the last is taken: cameras are not exact."""
_LATENCIES = 60


class RoundTrip:
    """size_px: side of the rebuilt picture. model: None for classical upsampling.

    Raises ModelError where there is no such model.
    """

    mode: Mode = "tryout"
    kbps = DEFAULT_KBPS

    def __init__(self, model: str | Path | None, size_px: int, runtime: Runtime = "auto") -> None:
        files = None if model is None else find(model)
        steps: LadderSteps | None = None if files is None else files.ladders.get(LR_CODEC)
        self.size_px = size_px
        self._failure: GeminoError | None = None
        self._steps = steps
        self._counters = Counters()
        likely = split(self.kbps, size_px, LR_CODEC, steps).rung.sampling
        shown = size_px, self._counters, self._on_shown
        self._viewer = Viewer(model, *shown, runtime, likely=likely)
        self._settings = Settings()
        self._lock = threading.Lock()
        self._coding = threading.Lock()  # while a picture is coded
        self._show: Show | None = None
        self._camera = CameraStream()
        self._coder = self._new_coder()
        self._shown = Window()
        self._view = View()
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._neural = False
        self._coded_at = 0.0
        self._thread = threading.Thread(target=self._run, name="coder", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._viewer.ready.is_set()

    def wait(self) -> None:
        """Until the model is loaded; raises ModelError or RuntimeUnavailable where it cannot be."""
        self._viewer.ready.wait()
        if self._viewer.failure is not None:
            raise self._viewer.failure

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing is shown any more."""
        return self._failure or self._viewer.failure

    @property
    def wants_keyframe(self) -> bool:
        """Whether the camera's stream needs a key frame."""
        return self._camera.wants_keyframe

    def start(self, show: Show) -> None:
        """Begin with a new page; show: called in a thread, with every picture to be seen."""
        with self._lock:
            self._show = show
        self._camera.start()

    def stop(self) -> None:
        """The page is gone: forget what was seen of it."""
        self._camera.stop()
        with self._coding, self._lock:  # what was taken of this page goes to none after it
            self._show = None
            self._settings = Settings()
            self._viewer.explains = False
            self._failure = None
            self._coder.close()
            self._coder = self._new_coder()
            self._shown, self._view = Window(), View()
            self._latencies_ms.clear()
            self._neural = False
        self._viewer.forget_references()

    def set(self, settings: Settings) -> None:
        """Go on as the page wants it."""
        with self._lock:
            self._settings = settings
            self._viewer.explains = settings.overlay

    def push(self, pictures: list[Picture]) -> None:
        """Take coded pictures of the camera, in order."""
        self._camera.push(pictures)

    def sound(self, microphone: MediaStreamTrack) -> tuple[MediaStreamTrack, Encoder]:
        """What the page hears: itself."""
        echo = Echo(microphone)
        return echo, echo.slot

    def thumbnail(self) -> bytes | None:
        """The latest LR picture as JPEG."""
        lr = self._coder.lr
        if lr is None or not self._settings.thumbnail:
            return None
        return as_jpeg(lr)

    def stats(self, now: float) -> PageStats:
        """What the page shows."""
        coder, counters = self._coder, self._counters
        payload, onwire = coder.rate.kbps(now)
        latencies = list(self._latencies_ms)
        carried, drawn = self._view.shares or (None, None)
        age_s = None if coder.reference_at is None else round(now - coder.reference_at, 1)
        return PageStats(
            ready=self.ready,
            model=self._viewer.model_name,
            size_px=self.size_px,
            kbps=self._settings.kbps,
            payload_kbps=round(payload, 2),
            onwire_kbps=round(onwire, 2),
            sent_kbps=0.0,
            sent_onwire_kbps=0.0,
            beside_kbps=round(coder.plain_rate.kbps(now)[0], 2) if coder.plain_px else 0.0,
            beside_px=coder.plain_px,
            lr_px=coder.rung.size_px,
            lr_codec=coder.rung.codec,
            fps=round(self._shown.per_second(now), 1),
            latency_ms=round(median(latencies), 1) if latencies else 0.0,
            loss=0.0,
            references=coder.references,
            reference_age_s=age_s,
            carried=carried,
            drawn=drawn,
            neural=self._neural,
            drawn_px=counters.drawn_px or self.size_px,
            camera_px=self._camera.size_px,
        )

    def close(self) -> None:
        """End all threads."""
        with self._lock:
            self._show = None
        self._camera.close()
        self._thread.join()
        self._coder.close()
        self._viewer.close()

    def _new_coder(self) -> Coder:
        return Coder(self.size_px, self._steps, self._push, self._viewer.add_reference)

    def _push(self, picture: Picture) -> None:
        self._viewer.push([picture])

    def _run(self) -> None:
        while not self._camera.closed:
            if not self._camera.wait():
                continue
            try:
                with self._coding:
                    self._code(self._camera.newest())
            except CodecError as error:
                logger.info("a picture of the camera is left out: %s", error)
            except Exception as error:  # a thread's edge: else the page would stand still
                logger.debug("the coder failed", exc_info=True)
                self._failure = CodecError(f"pictures cannot be coded any more: {error}")

    def _code(self, taken: Taken | None) -> None:
        if taken is None or not self._viewer.ready.is_set():
            return
        settings, taken_s = self._settings, taken.arrived_s
        if taken_s - self._coded_at < _EARLY / most_fps(settings.kbps):
            return
        self._coded_at = taken_s
        self._coder.code(from_video_frame(taken.picture), taken_s, settings, time.monotonic())

    def _on_shown(self, shown: ShownFrame) -> None:
        """In a thread of the viewer."""
        with self._lock:
            show, coder, settings = self._show, self._coder, self._settings
        if show is None:
            return
        now = time.monotonic()
        self._shown.add(1, now)
        late = (round(now * VIDEO_CLOCK_HZ) - shown.timestamp) % (1 << 32)
        self._latencies_ms.append(late * 1000 / VIDEO_CLOCK_HZ)
        self._neural = shown.neural
        plain = coder.plain(shown.timestamp) if settings.split else None
        show(self._view.video(shown, plain, overlay=settings.overlay, now=now))
