"""What one peer lets the other see: a source's pictures, or a screen in their place for a while."""

from collections.abc import Callable

from aiortc import RTCPeerConnection, RTCRtpSender, RTCRtpTransceiver
from aiortc.mediastreams import VIDEO_CLOCK_RATE

from gemino.call.desktop_pictures import DesktopPictures
from gemino.call.pacing import pace
from gemino.call.payload import fill_encoder_slot, timestamp_offset
from gemino.call.rtcp import Clock
from gemino.call.slot import EncodePicture, LrSlot
from gemino.call.sources import Feed
from gemino.call.stats import Counters
from gemino.call.tracks import VideoTrack
from gemino.config import LrCodec
from gemino.errors import CallError, GeminoError
from gemino.wire import CaptureTime

_CAPTURE_TIME_EVERY_S = 2.0
"""Also what keeps the other peer from taking a still camera for a dead one."""


class Showing:
    """The video track and its encoder slot; no `async`. feed: ours to close.

    encode, codec: for pictures of a camera or a clip. kbps: what a screen may cost at this moment.
    on_return: called when such pictures follow on a screen. desktop: what codes a screen, as long
    as there is one.
    """

    def __init__(
        self,
        feed: Feed,
        encode: EncodePicture,
        codec: LrCodec,
        counters: Counters,
        kbps: Callable[[], float],
        on_return: Callable[[], None],
        *,
        keep_log: bool,
    ) -> None:
        self.track = VideoTrack(feed.pictures, feed.clock, keep_log=keep_log)
        self.feed = feed
        self.desktop: DesktopPictures | None = None
        self._shared: Feed | None = None
        """A screen that is sent in place of `feed`, whose sound goes on."""
        self._clock = feed.clock
        self._encode = encode
        self._counters = counters
        self._kbps = kbps
        self._on_return = on_return
        self._lr = LrSlot(encode, codec)
        self._sender: RTCRtpSender | None = None
        self._offset: int | None = None
        self._told_at: float | None = None

    @property
    def codec(self) -> LrCodec:
        """The codec of the video track."""
        return self._lr.codec

    @property
    def packets(self) -> int:
        """How many have been sent."""
        return self._lr.packets

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing more can be sent, if so."""
        return self._lr.failure or (self.track.failure if not self.track.sent else None)

    @property
    def shares(self) -> bool:
        """A screen is sent in place of our pictures."""
        return self._shared is not None

    def attach(self, connection: RTCPeerConnection) -> dict[RTCRtpSender, Clock]:
        """Add the track, with our encoder in the stock sender's slot; returns its clock."""
        self._sender = connection.addTrack(self.track)
        fill_encoder_slot(self._sender, self._lr)
        return {self._sender: self._timestamp_now}

    def transceiver(self, connection: RTCPeerConnection) -> RTCRtpTransceiver | None:
        """Ours among the connection's."""
        ours = (one for one in connection.getTransceivers() if one.sender is self._sender)
        return next(ours, None)

    def code(self, encode: EncodePicture, codec: LrCodec) -> None:
        """Run `encode` for pictures of a camera or a clip, and send `codec`; before media flows."""
        self._encode = encode
        self._lr.codec = codec
        self._choose()

    def switch(self, feed: Feed) -> None:
        """Send `feed` instead, in mid-call; ours to close from now on.

        Raises CallError where what was sent has come to its end.
        """
        self._check_live(feed, "to send something else")
        before, self.feed = self.feed, feed
        shared, self._shared = self._shared, None
        self.track.switch(feed.pictures, feed.clock)
        self._choose()
        for one in (before, shared):
            if one is not None:
                one.close()

    def share(self, screen: Feed | None) -> None:
        """Send `screen` in place of our pictures, ours to close from now on; None: ours again.

        Raises CallError where what was sent has come to its end.
        """
        self._check_live(screen, "to share the screen")
        before, self._shared = self._shared, screen
        shown = screen or self.feed
        self.track.switch(shown.pictures, shown.clock)
        self._choose()
        if before is not None:
            before.close()

    def request_keyframe(self) -> None:
        """Make the next picture a key frame, if the last one on demand is old enough."""
        self._lr.request_keyframe()

    def times(self, now: float) -> list[CaptureTime]:
        """When the latest picture was taken: said now and then, as soon as it is known."""
        if self._told_at is not None and now - self._told_at < _CAPTURE_TIME_EVERY_S:
            return []
        captured = self._captured()
        if captured is None:
            return []
        self._told_at = now
        return [captured]

    def _captured(self) -> CaptureTime | None:
        offset, latest = self.timestamp_offset(), self.track.latest
        if offset is None or latest is None:
            return None
        index, time_s = latest
        timestamp = (offset + round(time_s * VIDEO_CLOCK_RATE)) % (1 << 32)
        return CaptureTime(timestamp, index, round((self._clock.start_s + time_s) * 1e6))

    def timestamp_offset(self) -> int | None:
        """The RTP timestamp of the call's start; None before anything was sent."""
        if self._offset is None and self._sender is not None and self._lr.first is not None:
            self._offset = timestamp_offset(self._sender, self._lr.first)
        return self._offset

    def close(self) -> None:
        """Stop reading what is sent."""
        self.feed.close()
        if self._shared is not None:
            self._shared.close()

    def _check_live(self, feed: Feed | None, what_for: str) -> None:
        if self.track.readyState != "live":
            if feed is not None:
                feed.close()
            raise CallError(f"what was sent has ended: call again {what_for}")

    def _choose(self) -> None:
        """Code what is sent as what it is, a face or a screen."""
        if (self._shared or self.feed).is_desktop:
            self.desktop = DesktopPictures(self.codec, self._kbps(), self._counters)
            self._lr.hand_over(self.desktop.encode, self.codec)
            if self._sender is not None:
                pace(self._sender, self._kbps)
            return
        returns, self.desktop = self.desktop is not None, None
        self._lr.hand_over(self._encode, self.codec)
        if returns:
            self._on_return()

    def _timestamp_now(self) -> int | None:
        offset = self.timestamp_offset()
        if offset is None:
            return None
        return offset + round(self._clock.late_s(0.0) * VIDEO_CLOCK_RATE)
