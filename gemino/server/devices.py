"""The browser as the camera, microphone, loudspeaker and screen of a `gemino-call` peer.

The peer opens them as it opens a machine's own: a camera that is read with `grab` and `retrieve`,
a sound card, a display. Where the page is left, the camera is one that was unplugged: its last
picture stands until the page is back.
"""

import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE

from gemino.call.camera import CameraSource
from gemino.call.display import ShownFrame
from gemino.call.jitter import Picture
from gemino.call.opus import Samples
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.call.soundcard import Deliver, Direction, Pull, SoundDevice
from gemino.call.stats import Counters, kbps
from gemino.config import REFERENCE_AMORTISATION_S
from gemino.errors import GeminoError
from gemino.frames import Frame, from_video_frame, to_video_frame
from gemino.server.camera import CameraStream
from gemino.server.messages import PageStats, Settings
from gemino.server.sound import Exchange
from gemino.server.trip import Mode, Show
from gemino.server.windows import Window

_NAME = "browser"
_PICTURE_S = 2.0
"""Without a picture for so long, the camera counts as gone."""

Incoming = Callable[[], Counters | None]


class PageDevices:
    """All that a page lends to a call; a `Trip`, a `Display`, a `SoundCard`.

    size_px: side of the call's picture. incoming: the counters of what the call receives, set once
    there is a call.
    """

    mode: Mode = "call"

    def __init__(self, size_px: int, model: str) -> None:
        self.size_px = size_px
        self.incoming: Incoming = lambda: None
        self._model = model
        self._camera = CameraStream()
        self._show: Show | None = None
        self._deliver: Deliver | None = None
        self._pull: Pull | None = None
        self._shown = Window()
        self._latest: ShownFrame | None = None
        self._rates = _Rates()

    # -- for the page

    @property
    def failure(self) -> GeminoError | None:
        """The call has its own way to say so."""
        return None

    @property
    def wants_keyframe(self) -> bool:
        """Whether the camera's stream needs a key frame."""
        return self._camera.wants_keyframe

    def start(self, show: Show) -> None:
        """Show the call on this page from now on."""
        self._show = show
        self._camera.start()

    def stop(self) -> None:
        """The page is gone."""
        self._show = None
        self._camera.stop()

    def set(self, settings: Settings) -> None:
        """The rate of a call is set where it is started."""

    def push(self, pictures: list[Picture]) -> None:
        """Take coded pictures of the camera, in order."""
        self._camera.push(pictures)

    def sound(self, microphone: MediaStreamTrack) -> tuple[MediaStreamTrack, Encoder]:
        """The other side's sound; the call gets what `microphone` hears."""
        exchange = Exchange(microphone, self._on_sound, self._next_sound)
        return exchange, exchange.slot

    def thumbnail(self) -> bytes | None:
        """A call shows none."""
        return None

    def stats(self, now: float) -> PageStats:
        """What the page shows of the call's incoming half."""
        counters, latest = self.incoming(), self._latest
        payload, onwire = self._rates.kbps(counters, now)
        return PageStats(
            ready=counters is not None,
            model=self._model,
            size_px=self.size_px,
            kbps=0.0,
            payload_kbps=round(payload, 2),
            onwire_kbps=round(onwire, 2),
            plain_kbps=0.0,
            plain_px=0,
            lr_px=0 if latest is None else latest.lr_px,
            lr_codec="" if counters is None else counters.lr_codec,
            fps=round(self._shown.per_second(now), 1),
            latency_ms=0.0,
            references=0 if counters is None else counters.references,
            reference_age_s=None,
            neural=latest is not None and latest.neural,
            drawn_px=self.size_px if counters is None else counters.drawn_px or self.size_px,
            camera_px=self._camera.size_px,
        )

    def _on_sound(self, samples: Samples, heard_s: float) -> None:
        deliver = self._deliver
        if deliver is not None:
            deliver(samples, heard_s)

    def _next_sound(self, count: int, until_s: float) -> Samples:
        pull = self._pull
        return np.zeros(count, np.int16) if pull is None else pull(count, until_s)

    # -- for the call

    def source(self) -> CameraSource:
        """The page's camera as what a peer sends."""
        return CameraSource(_NAME, lambda _device, _size_px: _PageCapture(self))

    def wait_for_page(self, seconds: float) -> bool:
        """Whether a page's camera gives pictures, within `seconds`."""
        return self._camera.wait(seconds)

    def next_picture(self) -> av.VideoFrame | None:
        """The newest picture of the camera; None where none comes, or at the end."""
        taken = self._camera.newest() if self._camera.wait(_PICTURE_S) else None
        return None if taken is None else taken.picture

    def devices(self, direction: Direction) -> list[SoundDevice]:  # noqa: ARG002
        """The page is both."""
        return [SoundDevice(_NAME, _NAME, True)]

    def record(self, name: str | None, deliver: Deliver) -> "_PageSound":  # noqa: ARG002
        """Give `deliver` what the page's microphone hears."""
        self._deliver = deliver
        return _PageSound()

    def play(self, name: str | None, pull: Pull) -> "_PageSound":  # noqa: ARG002
        """Have the page play what `pull` gives."""
        self._pull = pull
        return _PageSound()

    def show(self, shown: ShownFrame) -> None:
        """Show a picture of the other side."""
        now = time.monotonic()
        self._shown.add(1, now)
        self._latest = shown
        show = self._show
        if show is not None:
            show(to_video_frame(shown.frame, round(now * VIDEO_CLOCK_HZ), VIDEO_TIME_BASE))

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """The page shows its own camera by itself."""

    def close(self) -> None:
        """Nobody waits any more."""
        self._camera.close()


class _Rates:
    """What comes in, over the last two seconds; references over a minute."""

    def __init__(self) -> None:
        self._lr, self._wire = Window(), Window()
        self._before = 0, 0

    def kbps(self, counters: Counters | None, now: float) -> tuple[float, float]:
        """Payload and on the wire; to be asked a few times a second."""
        if counters is None:
            return 0.0, 0.0
        lr, wire = self._before
        self._before = counters.lr_bytes, counters.traffic.onwire_bytes
        self._lr.add(self._before[0] - lr, now)
        self._wire.add(self._before[1] - wire, now)
        references = kbps(counters.reference_bytes, REFERENCE_AMORTISATION_S)
        return self._lr.per_second(now) / 125 + references, self._wire.per_second(now) / 125


class _PageSound:
    """A microphone or loudspeaker that is there as long as the call: pages come and go."""

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to let go of."""


class _PageCapture:
    """The page's camera, read as OpenCV reads one."""

    def __init__(self, devices: PageDevices) -> None:
        self._devices = devices
        self._picture: av.VideoFrame | None = None

    def grab(self) -> bool:
        self._picture = self._devices.next_picture()
        return self._picture is not None

    def retrieve(self) -> tuple[bool, Any]:
        if self._picture is None:
            return False, None
        return True, from_video_frame(self._picture)[..., ::-1]

    def release(self) -> None:
        self._picture = None
