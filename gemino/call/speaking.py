"""What one peer lets the other hear: a source's sound, coded as the other side wants it."""

import logging
from dataclasses import replace

from aiortc import RTCPeerConnection, RTCRtpSender

from gemino.call.audio import OpusSlot
from gemino.call.display import Listener
from gemino.call.opus import SAMPLE_RATE_HZ, OpusSettings, Samples
from gemino.call.payload import fill_encoder_slot, timestamp_offset
from gemino.call.rtcp import Clock
from gemino.call.sound_copies import CopyPolicy
from gemino.call.sound_format import SoundWish, expected_loss
from gemino.call.sources import Feed
from gemino.call.tracks import AudioTrack
from gemino.wire import SoundTime

logger = logging.getLogger(__name__)


class Speaking:
    """The sound that is sent, if `feed` has any; no `async`.

    settings: how to code it where the other side has no wishes. listeners: get what is sent.
    """

    def __init__(
        self, feed: Feed, settings: OpusSettings, listeners: tuple[Listener, ...] = ()
    ) -> None:
        self.track: AudioTrack | None = None
        self._clock = feed.clock
        self._listeners = listeners
        self._opus = OpusSlot(settings)
        self._copies = CopyPolicy(settings)
        self._sender: RTCRtpSender | None = None
        self._offset: int | None = None
        self._told = False
        if feed.sound is not None:
            self.track = AudioTrack(feed.sound, feed.clock, settings.packet_ms)
            self.track.watch = self._hear_self

    @property
    def payload_bytes(self) -> int:
        """Of all packets so far."""
        return self._opus.payload_bytes

    @property
    def live(self) -> bool:
        """There is more to come."""
        return self.track is not None and self.track.readyState == "live"

    def attach(self, connection: RTCPeerConnection) -> dict[RTCRtpSender, Clock]:
        """Add the track, with our encoder in the stock sender's slot; returns its clock."""
        if self.track is None:
            return {}
        self._sender = connection.addTrack(self.track)
        fill_encoder_slot(self._sender, self._opus)
        return {self._sender: self._timestamp_now}

    def agree(self, wish: SoundWish) -> None:
        """Code sound as the other peer wants it, within our options; before media flows."""
        settings = wish.applied(self._opus.settings)
        if settings.kbps < self._opus.settings.kbps:
            logger.info("the other peer asks for at most %g kbps of sound", settings.kbps)
        self._opus.settings = settings
        self._copies = CopyPolicy(settings, known=wish.copies)
        if self.track is not None:
            self.track.packet_ms = settings.packet_ms

    def on_loss(self, lost: float, seconds: float) -> None:
        """Take what the other peer reports (RTCP): the share of packets lost (0..1) since its last
        report, so many seconds ago."""
        settings, self._opus.copies = self._copies.report(lost, seconds)
        self._opus.settings = replace(settings, loss_percent=expected_loss(lost))

    def mute(self, on: bool) -> None:
        """Let the other side hear nothing, or hear us again."""
        if self.track is not None:
            self.track.muted = on

    def switch(self, feed: Feed) -> None:
        """Send the sound of `feed` instead, in mid-call."""
        if self.track is not None:
            self.track.switch(feed.sound)
        elif feed.sound is not None:
            logger.warning("this call began without sound: that of the new source is not sent")

    def time(self) -> list[SoundTime]:
        """When its first sample was taken: said once, as soon as it is known."""
        offset = self._timestamp_offset()
        if offset is None or self._told:
            return []
        self._told = True
        return [SoundTime(offset, round(self._clock.start_s * 1e6))]

    def _timestamp_offset(self) -> int | None:
        """The RTP timestamp of the call's start; None before anything was sent."""
        if self._offset is None and self._sender is not None and self._opus.first is not None:
            self._offset = timestamp_offset(self._sender, self._opus.first)
        return self._offset

    def _timestamp_now(self) -> int | None:
        offset = self._timestamp_offset()
        return None if offset is None else offset + round(self._clock.late_s(0.0) * SAMPLE_RATE_HZ)

    def _hear_self(self, samples: Samples, taken_s: float) -> None:
        for listener in self._listeners:
            listener.hear_self(samples, taken_s)
