"""The browser as the camera, microphone, loudspeaker and screen of a `gemino-call` peer.

The peer opens them as it opens a machine's own: a camera that is read with `grab` and `retrieve`,
a sound card, a display. Where the page is left, the camera is one that was unplugged: its last
picture stands until the page is back.
"""

import asyncio
import contextlib
import time
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.codecs.base import Encoder

from gemino.call.camera import CameraSource
from gemino.call.display import ShownFrame
from gemino.call.incoming import Incoming
from gemino.call.jitter import Picture
from gemino.call.opus import Samples
from gemino.call.outgoing import Outgoing
from gemino.call.peer import Peer
from gemino.call.soundcard import Deliver, Direction, Pull, SoundDevice
from gemino.call.stats import Counters
from gemino.errors import GeminoError
from gemino.frames import Frame, from_video_frame, resize
from gemino.server.camera import CameraStream
from gemino.server.messages import MAX_KBPS, MIN_KBPS, PageStats, Settings
from gemino.server.sound import Exchange
from gemino.server.tally import Lateness, Tally, delay_ms
from gemino.server.trip import Mode, Show
from gemino.server.view import View, as_jpeg
from gemino.server.windows import Window

_NAME = "browser"
_PICTURE_S = 2.0
"""Without a picture for so long, the camera counts as gone."""


class PageDevices:
    """All that a page lends to a call; a `Trip`, a `Display`, a `SoundCard`.

    size_px: side of the call's picture. model: what is to rebuild it. kbps: what the call may send,
    at first; a page may ask for another rate.
    """

    mode: Mode = "call"

    def __init__(self, size_px: int, model: str, kbps: float) -> None:
        self.size_px = size_px
        self.kbps = min(max(kbps, MIN_KBPS), MAX_KBPS)
        self._model = model
        self._camera = CameraStream()
        self._show: Show | None = None
        self._deliver: Deliver | None = None
        self._pull: Pull | None = None
        self._call: tuple[Peer, asyncio.AbstractEventLoop] | None = None
        self._asks = False
        self._settings = Settings()
        self._shown = Window()
        self._latest: ShownFrame | None = None
        self._view = View()
        self._lateness = Lateness()
        self._coming, self._going = Tally(), Tally()

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
        """The page is gone; the rate that it asked for stays."""
        self._show = None
        self._camera.stop()
        self._settings = Settings(self.kbps)
        self._steer()

    def set(self, settings: Settings) -> None:
        """Go on as the page wants it."""
        self._settings = settings
        if settings.kbps != self.kbps:
            self.kbps, self._asks = settings.kbps, True
        self._steer()

    def push(self, pictures: list[Picture]) -> None:
        """Take coded pictures of the camera, in order."""
        self._camera.push(pictures)

    def sound(self, microphone: MediaStreamTrack) -> tuple[MediaStreamTrack, Encoder]:
        """The other side's sound; the call gets what `microphone` hears."""
        exchange = Exchange(microphone, self._on_sound, self._next_sound)
        return exchange, exchange.slot

    def thumbnail(self) -> bytes | None:
        """The latest LR picture of the other side, as JPEG."""
        latest = self._latest
        if latest is None or latest.lr is None or not self._settings.thumbnail:
            return None
        return as_jpeg(latest.lr)

    def stats(self, now: float) -> PageStats:
        """What the page shows."""
        self._steer()
        incoming, outgoing = self._halves()
        counters = Counters() if incoming is None else incoming.counters
        sent = None if outgoing is None else outgoing.counters
        self._coming.look(counters, now)
        if sent is not None:
            self._going.look(sent, now)
        latest, since = self._latest, counters.reference_at
        carried, drawn = self._view.shares or (None, None)
        splits = self._settings.split and latest is not None
        return PageStats(
            ready=incoming is not None and incoming.viewer.ready.is_set(),
            model=(incoming.viewer.model_name if incoming is not None else "") or self._model,
            size_px=self.size_px,
            kbps=self.kbps,
            payload_kbps=round(self._coming.payload_kbps, 2),
            onwire_kbps=round(self._coming.onwire_kbps, 2),
            sent_kbps=round(self._going.payload_kbps, 2),
            sent_onwire_kbps=round(self._going.onwire_kbps, 2),
            beside_kbps=round(self._coming.lr_kbps, 2) if splits else 0.0,
            beside_px=latest.lr_px if latest is not None and splits else 0,
            lr_px=0 if latest is None else latest.lr_px,
            lr_codec=counters.lr_codec,
            fps=round(self._shown.per_second(now), 1),
            latency_ms=round(delay_ms(counters, sent, self._lateness.seconds()), 1),
            loss=round(self._coming.loss, 4),
            references=counters.references,
            reference_age_s=None if since is None else round(now - since, 1),
            carried=carried,
            drawn=drawn,
            neural=latest is not None and latest.neural,
            drawn_px=counters.drawn_px or self.size_px,
            camera_px=self._camera.size_px,
        )

    def _halves(self) -> tuple[Incoming | None, Outgoing | None]:
        if self._call is None:
            return None, None
        peer, _ = self._call
        return peer.incoming, peer.outgoing

    def _steer(self) -> None:
        """Have the call go on as the page wants it, once there is one."""
        if self._call is None:
            return
        (peer, loop), (incoming, outgoing) = self._call, self._halves()
        if incoming is not None:
            incoming.viewer.explains = self._settings.overlay
        if self._asks and outgoing is not None:
            self._asks = False
            with contextlib.suppress(RuntimeError):  # the call has ended
                loop.call_soon_threadsafe(peer.ask, self.kbps)

    def _on_sound(self, samples: Samples, heard_s: float) -> None:
        deliver = self._deliver
        if deliver is not None:
            deliver(samples, heard_s)

    def _next_sound(self, count: int, until_s: float) -> Samples:
        pull = self._pull
        return np.zeros(count, np.int16) if pull is None else pull(count, until_s)

    # -- for the call

    def join(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        """Let pages steer this peer, and show how its call goes. loop: the one it runs in."""
        self._call = peer, loop

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
        self._lateness.add(shown)
        show, settings = self._show, self._settings
        if show is not None:
            splits = settings.split and shown.lr is not None
            beside = resize(shown.lr, self.size_px) if shown.lr is not None and splits else None
            show(self._view.video(shown, beside, overlay=settings.overlay, now=now))

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """The page shows its own camera by itself."""

    def close(self) -> None:
        """Nobody waits any more."""
        self._camera.close()


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
