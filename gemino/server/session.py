"""One page's connection: its camera and microphone in, the rebuilt picture and its sound out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError

from gemino.call.candidates import Candidates
from gemino.call.jitter import Packet, PictureBuffer
from gemino.call.link import hang_up
from gemino.call.payload import VideoTap, fill_encoder_slot
from gemino.errors import CallError, WireError
from gemino.server.local_video import LocalEncoder, NewestTrack
from gemino.server.messages import Alive, Bye, Settings, end, parse
from gemino.server.trip import Trip

logger = logging.getLogger(__name__)

MAX_SDP_BYTES = 32 * 1024
_MAX_SECTIONS = 3
_TICK_S = 0.02
_STATS_EVERY_S = 0.5
_THUMBNAIL_EVERY_S = 0.2
_MOST_BUFFERED_BYTES = 64 * 1024
_PLI_EVERY_S = 0.4
_CONNECT_S = 20.0
_SILENCE_S = 8.0
"""The page says something every two seconds."""
_CAMERA_KBPS = 4_000
"""What the camera's stream may cost on the local link from its first second on."""


class Session:
    """A page that uses `trip`; ends when it leaves, falls silent, or `end` is called."""

    def __init__(self, trip: Trip) -> None:
        self._trip = trip
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel = self._connection.createDataChannel("page", negotiated=True, id=0)
        self._channel.on("message", self._on_message)
        self._buffer = PictureBuffer()
        self._tap: VideoTap | None = None
        self._track = NewestTrack()
        self._sound: MediaStreamTrack | None = None
        self._heard_at = time.monotonic()
        self._over = asyncio.Event()
        self._reason: str | None = None
        self._pli_at = 0.0

    async def answer(self, sdp: str) -> str:
        """Our answer to the page's offer; raises WireError for an offer that cannot be used."""
        if sdp.count("\nm=") > _MAX_SECTIONS:
            raise WireError(f"an offer has at most {_MAX_SECTIONS} media sections")
        connection = self._connection
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            for transceiver in connection.getTransceivers():
                self._attach(transceiver)
            if self._tap is None:
                raise WireError("the page offers no camera")
            await connection.setLocalDescription(await connection.createAnswer())
        except WireError:
            raise
        except Exception as error:  # aiortc raises whatever an offer makes it stumble over
            raise WireError(f"the page's offer cannot be used: {error}") from error
        Candidates(connection, (), relay_only=False).filter_sources()
        return _for_cameras(connection.localDescription.sdp)

    def _attach(self, transceiver: RTCRtpTransceiver) -> None:
        if transceiver.kind == "video" and self._tap is None:
            self._tap = VideoTap(transceiver.receiver, self._on_packet)
            sender = self._connection.addTrack(self._track)
            fill_encoder_slot(sender, LocalEncoder())
        elif transceiver.kind == "audio" and self._sound is None:
            self._sound, encoder = self._trip.sound(transceiver.receiver.track)
            fill_encoder_slot(self._connection.addTrack(self._sound), encoder)

    def end(self, reason: str | None = None) -> None:
        """Ask for the end; reason: told to the page, which else has asked for it itself."""
        self._reason = self._reason or reason
        self._over.set()

    async def run(self) -> None:
        """Carry until the end, then close everything."""
        try:
            await self._connect()
            self._trip.start(self._track.give)
            try:
                await self._carry()
            finally:
                await asyncio.to_thread(self._trip.stop)
        except CallError as error:
            logger.info("%s", error)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._reason is not None and self._channel.readyState == "open":
            with contextlib.suppress(InvalidStateError):
                self._channel.send(end(self._reason))
                await asyncio.sleep(_TICK_S)
        self._track.stop()
        if self._sound is not None:
            self._sound.stop()
        await hang_up(self._connection)

    async def _connect(self) -> None:
        deadline = time.monotonic() + _CONNECT_S
        while self._channel.readyState != "open" and not self._over.is_set():
            if self._connection.connectionState in ("failed", "closed"):
                raise CallError("a page could not be connected")
            if time.monotonic() > deadline:
                raise CallError(f"a page did not connect within {_CONNECT_S:g} s")
            await asyncio.sleep(_TICK_S)
        self._heard_at = time.monotonic()

    async def _carry(self) -> None:
        stats_at = thumbnail_at = 0.0
        while not self._over.is_set():
            now = time.monotonic()
            if self._trip.failure is not None:
                self.end(str(self._trip.failure))
            if self._connection.connectionState in ("failed", "closed"):
                return
            if now - self._heard_at > _SILENCE_S:
                logger.info("a page fell silent")
                return
            for request in self._feedback(now):
                await request
            if now - stats_at >= _STATS_EVERY_S:
                stats_at = now
                self._say(self._trip.stats(now).to_json())
            if now - thumbnail_at >= _THUMBNAIL_EVERY_S:
                thumbnail_at = now
                picture = await asyncio.to_thread(self._trip.thumbnail)
                if picture is not None:
                    self._say(picture)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _TICK_S)

    def _say(self, data: str | bytes) -> None:
        if self._channel.bufferedAmount > _MOST_BUFFERED_BYTES:
            return  # a page that reads slowly gets the next one
        with contextlib.suppress(InvalidStateError):
            self._channel.send(data)

    def _on_message(self, data: str | bytes) -> None:
        if self._over.is_set():
            return
        self._heard_at = time.monotonic()
        try:
            match parse(data):
                case Settings() as settings:
                    self._trip.set(settings)
                case Bye():
                    self.end()
                case Alive():
                    pass
        except WireError as error:
            self.end(str(error))

    def _on_packet(self, packet: Packet) -> None:
        now = time.monotonic()
        self._buffer.add(packet, now)
        self._take(now)

    def _take(self, now: float) -> None:
        pictures = self._buffer.take(now)
        if pictures:
            self._trip.push(pictures)

    def _feedback(self, now: float) -> list[Awaitable[None]]:
        """RTCP to be sent now: lost packets, and whether the camera should send a key frame."""
        assert self._tap is not None
        self._take(now)
        requests = [self._tap.nack(self._buffer.nacks(now))]
        if self._trip.wants_keyframe and now - self._pli_at >= _PLI_EVERY_S:
            self._pli_at = now
            requests.append(self._tap.pli())
        return [request for request in requests if request is not None]


def _for_cameras(sdp: str) -> str:
    """The answer, with what makes a browser send its camera at full size from the start.

    Rate costs nothing on this link: start high (Chromium's own parameter), and leave out the
    bandwidth estimate (REMB), which takes a busy processor for a narrow network.
    """
    lines = []
    for line in sdp.splitlines():
        if line.startswith("a=rtcp-fb:") and line.endswith("goog-remb"):
            continue
        lines.append(line)
        if line.startswith("a=rtpmap:") and "VP8/90000" in line:
            number = line.removeprefix("a=rtpmap:").split()[0]
            lines.append(
                f"a=fmtp:{number} x-google-start-bitrate={_CAMERA_KBPS};"
                f"x-google-max-bitrate={2 * _CAMERA_KBPS}"
            )
    return "\r\n".join(lines) + "\r\n"
