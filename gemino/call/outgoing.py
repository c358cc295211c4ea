"""Everything one peer sends: a source's tracks, its codec, its references, its rate."""

import logging
from dataclasses import replace

from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.mediastreams import VIDEO_CLOCK_RATE

from gemino.call.adaptation import Adaptation, split
from gemino.call.album import Album
from gemino.call.desktop_pictures import DesktopPictures
from gemino.call.lending import AdapterSender
from gemino.call.options import PeerOptions
from gemino.call.pacing import pace
from gemino.call.payload import (
    agreed_codec,
    fill_encoder_slot,
    knows_fovea,
    settle,
    timestamp_offset,
)
from gemino.call.plain_pictures import PlainPictures, plain_steps
from gemino.call.recorder import LogRow
from gemino.call.references import ReferenceSender
from gemino.call.rtcp import Clock
from gemino.call.sender import PictureSender
from gemino.call.slot import LrSlot
from gemino.call.sources import Feed
from gemino.call.speaking import Speaking
from gemino.call.stats import Counters
from gemino.call.tracks import SourceFrame, VideoTrack
from gemino.config import EncoderConfig, LrCodec, first_reference_bytes
from gemino.errors import CallError, GeminoError
from gemino.frames import Frame, letterbox, resize
from gemino.wire import (
    AdapterAnswer,
    CaptureTime,
    KeyframeWish,
    MediaState,
    Message,
    ReferenceAck,
    ReferenceHave,
    ReferenceWish,
    Stats,
)
from gemino.zoo import find

logger = logging.getLogger(__name__)

_CAPTURE_TIME_EVERY_S = 2.0
"""Also what keeps the other peer from taking a still camera for a dead one."""
_GRACE_S = 0.3
"""After the last frame: time for packets that must be sent again."""


class Outgoing:
    """The sending half of a call; no `async`, `now` is an argument. feed: closed by `close`."""

    def __init__(self, options: PeerOptions, feed: Feed) -> None:
        media = options.media
        self.counters = Counters()
        self.fps = feed.fps
        self.clock = feed.clock
        self._feed = feed
        self._media = media
        codec = media.lr_codecs[0]
        self._ladders = find(media.model).ladders if media.model else {}
        self._adaptation = self._adapt(codec)
        budget = self._adaptation.budget
        config = EncoderConfig(
            output_px=media.size_px,
            rung=budget.rung,
            fps=feed.fps,
            reference_max_bytes=budget.reference_max_bytes,
            reference_kbps=budget.reference_kbps,
            first_reference_bytes=first_reference_bytes(media.size_px),
            foveate=media.fovea,
        )
        self._pictures: PictureSender | PlainPictures = PictureSender(config, self.counters)
        self._references = ReferenceSender(budget.reference_pace_kbps)
        lent, pace_kbps = options.lends, budget.reference_kbps
        self._lent = None if lent is None else AdapterSender(lent, pace_kbps)
        self._album = None if options.gallery is None else Album(options.gallery)
        self._hopes = self._album is not None
        keep_log = options.frame_log is not None
        self.video = VideoTrack(feed.pictures, feed.clock, keep_log=keep_log)
        self._displays = options.displays
        self.video.watch = self._show_self
        self._lr = LrSlot(self._pictures.encode, codec)
        self._shared: Feed | None = None
        """A screen that is sent in place of `_feed`, whose sound goes on."""
        self._desktop: DesktopPictures | None = None
        self.sound = Speaking(feed, media.sound.settings(media.kbps), options.listeners)
        self._video_sender: RTCRtpSender | None = None
        self._offset: int | None = None
        self._ended_at: float | None = None
        self._told_at: float | None = None
        self._told_state = MediaState(sends_picture=True, sends_sound=True)
        self._reported = (0, 0)
        self._sends_references = True
        self.their_model = ""
        """The other peer's network: "the same" as ours, "another one", or "none" ("": not told)."""

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing more can be sent, if so."""
        return self._lr.failure or (self.video.failure if not self.video.sent else None)

    def attach(self, connection: RTCPeerConnection) -> dict[RTCRtpSender, Clock]:
        """Add the tracks, with our encoders in the stock senders' slots; returns their clocks."""
        self._video_sender = connection.addTrack(self.video)
        fill_encoder_slot(self._video_sender, self._lr)
        return {self._video_sender: self._timestamp_now, **self.sound.attach(connection)}

    @property
    def codec(self) -> LrCodec:
        """The codec of our LR stream."""
        return self._lr.codec

    def agree(self, connection: RTCPeerConnection) -> None:
        """Take what the descriptions have agreed on; before media flows."""
        mine = [t for t in connection.getTransceivers() if t.sender is self._video_sender]
        codec = agreed_codec(mine[0]) if mine else None
        assert isinstance(self._pictures, PictureSender)
        if codec == "av1" and not knows_fovea(connection):
            self._pictures.look_evenly()
        if codec is not None and codec != self.codec:
            self._lr.codec = codec
            self._adaptation = self._adapt(codec)
            self._pictures.start_over(self._adaptation.budget.rung)
        self._choose_pictures()

    def serve_plainly(self, connection: RTCPeerConnection) -> None:
        """Send ordinary VP8: the other peer is no Gemino; before media flows, after `agree`.

        Raises CallError where it does not take VP8.
        """
        mine = [t for t in connection.getTransceivers() if t.sender is self._video_sender]
        if mine and not settle(mine[0], "vp8"):
            raise CallError("the other peer is no Gemino and takes no VP8: no picture reaches it")
        media = self._media
        steps = plain_steps(media.size_px)
        self._adaptation = Adaptation(media.kbps, media.size_px, "vp8", steps, plain=True)
        self._pictures.close()
        self._pictures = PlainPictures(self._adaptation.budget.rung, self.fps, self.counters)
        self._lr.codec = "vp8"
        self._choose_pictures()

    def spare_references(self) -> None:
        """The other peer has no network: all of the rate is for the small picture, from now on."""
        media = self._media
        self._adaptation = Adaptation(media.kbps, media.size_px, self.codec, plain=True)
        self._pictures.set_rung(self._adaptation.budget.rung)
        self._sends_references = False

    def mute(self, on: bool) -> None:
        """Let the other side hear nothing, or hear us again."""
        self.counters.sound_off = on
        self.sound.mute(on)

    def hide(self, on: bool) -> None:
        """Let the other side see no more of the source than it has seen, or see it again."""
        self.counters.picture_off = self.video.hidden = on

    def ask(self, kbps: float) -> None:
        """Send at most `kbps` of video payload from now on; raises CallError out of bounds."""
        self._media = media = replace(self._media, kbps=kbps)
        self._adaptation.ask(kbps)
        budget = split(kbps, media.size_px, self.codec, self._ladders.get(self.codec))
        self._pictures.pay_for_references(budget.reference_max_bytes, budget.reference_kbps)

    def switch(self, feed: Feed) -> None:
        """Send `feed` instead, in mid-call; ours to close from now on.

        Raises CallError where what was sent has come to its end.
        """
        if self.video.readyState != "live":
            feed.close()
            raise CallError("what was sent has ended: call again to send something else")
        before, self._feed = self._feed, feed
        shared, self._shared = self._shared, None
        self.video.switch(feed.pictures, feed.clock)
        self.sound.switch(feed)
        self._choose_pictures()
        for one in (before, shared):
            if one is not None:
                one.close()

    @property
    def shares(self) -> bool:
        """A screen is sent in place of our pictures."""
        return self._shared is not None

    def share(self, feed: Feed | None) -> None:
        """Send a screen's `feed` in place of our pictures, ours to close from now on; None: send
        our pictures again. Sound goes on.

        Raises CallError where what was sent has come to its end.
        """
        if self.video.readyState != "live":
            if feed is not None:
                feed.close()
            raise CallError("what was sent has ended: call again to share the screen")
        before, self._shared = self._shared, feed
        shown = self._feed if feed is None else feed
        self.video.switch(shown.pictures, shown.clock)
        self._choose_pictures()
        if before is not None:
            before.close()

    def _choose_pictures(self) -> None:
        """Code what is sent as what it is, a face or a screen, and begin with a key frame."""
        shown = self._shared or self._feed
        if shown.is_desktop:
            self._desktop = DesktopPictures(self.codec, self._adaptation.kbps, self.counters)
            self._lr.hand_over(self._desktop.encode, self.codec)
            if self._video_sender is not None:
                pace(self._video_sender, lambda: self._adaptation.kbps)
        else:
            was_desktop, self._desktop = self._desktop is not None, None
            self._lr.hand_over(self._pictures.encode, self.codec)
            if was_desktop:
                self._pictures.set_rung(self._adaptation.budget.rung)
                self._pictures.request_keyframe()

    def on_loss(self, packets_lost: int) -> None:
        """Take how many of our packets of video have been lost since the call's start."""
        lost, sent = self._reported
        self._reported = (packets_lost, self._lr.packets)
        self._adaptation.on_loss(packets_lost - lost, self._lr.packets - sent)
        self.counters.packets_lost = packets_lost

    def _adapt(self, codec: LrCodec) -> Adaptation:
        media = self._media
        return Adaptation(media.kbps, media.size_px, codec, self._ladders.get(codec))

    def prime(self) -> None:
        """Encode the first frame, where it is known; blocks, raises MediaError or CodecError."""
        if self._album is not None:
            self._album.open()
        first = self._feed.pictures.peek()
        if first is not None:
            self._hope(first.frame)
        if first is not None and isinstance(self._pictures, PictureSender):
            self._pictures.prime(first.frame)

    def finished(self, now: float) -> bool:
        """All of the source has been sent, and what was lost had time to be sent again."""
        if self.video.readyState == "live" or self.sound.live:
            return False
        if self._ended_at is None:
            self._ended_at = now
        return now - self._ended_at >= _GRACE_S

    def messages(self, now: float) -> list[Message]:
        """What is to be said now: pieces of references, and when frames were taken."""
        counters = self.counters
        counters.audio_bytes = self.sound.payload_bytes
        counters.frames_dropped = self.video.dropped
        made = self._pictures.take_references()
        for reference in made if self._sends_references else ():
            self._references.send(reference)
            if self._album is not None:
                self._album.keep(reference)
            counters.reference_at = now
        messages = self._references.messages(now)
        counters.reference_bytes = self._references.bytes_sent
        if self._lent is not None and self._sends_references:
            messages += self._lent.messages(now, idle=self._references.idle)
            counters.adapter_bytes = self._lent.bytes_sent
        if (budget := self._adaptation.update(now)) is not None:
            logger.info("LR stream now %s", budget.rung)
            self._references.pace_kbps = budget.reference_pace_kbps
            if self._lent is not None:
                self._lent.pace_kbps = budget.reference_kbps
            self._pictures.set_rung(budget.rung)
        return messages + self._times(now) + self._state()

    def receive(self, message: Message) -> None:
        """Take what the other peer says about our stream; raises WireError."""
        if isinstance(message, ReferenceAck | ReferenceHave):
            self._references.receive(message)
        elif isinstance(message, AdapterAnswer) and self._lent is not None:
            self._lent.receive(message)
        elif isinstance(message, ReferenceWish):
            self._pictures.request_reference()
        elif isinstance(message, KeyframeWish):
            (self._desktop or self._pictures).request_keyframe()
        elif isinstance(message, Stats):
            self.on_loss(message.packets_lost)

    def frame_log(self) -> list[LogRow]:
        """A row for each frame sent, in order; captured_s is on the monotonic clock.

        Empty unless the options ask for a log.
        """
        start_s = self.clock.start_s
        return [
            {"index": index, "time_s": time_s, "captured_s": start_s + time_s}
            for index, time_s in self.video.log
        ]

    def close(self) -> None:
        """Stop reading the source and making references."""
        self._feed.close()
        if self._shared is not None:
            self._shared.close()
        self._pictures.close()

    def _hope(self, first: Frame) -> None:
        """Offer what former calls have of a picture like the first, before any other reference."""
        if self._album is not None and self._hopes:
            for reference in self._album.like(first, self._media.size_px):
                self._references.hope(reference)
        self._hopes = False

    def _show_self(self, frame: SourceFrame) -> None:
        picture, size_px = frame.frame, self._media.size_px
        if self._desktop is not None:
            self._desktop.kbps = self._adaptation.kbps
            picture = resize(letterbox(picture), size_px) if self._displays else picture
        elif self._hopes:
            self._hope(picture)
        for display in self._displays:
            display.show_self(picture, self.clock.start_s + frame.time_s)

    def _state(self) -> list[Message]:
        """What the other side is to know of our switches, where they have changed."""
        counters = self.counters
        state = MediaState(not counters.picture_off, not counters.sound_off)
        if state == self._told_state:
            return []
        self._told_state = state
        return [state]

    def _times(self, now: float) -> list[Message]:
        messages: list[Message] = []
        start_us = round(self.clock.start_s * 1e6)
        if self._told_at is None or now - self._told_at >= _CAPTURE_TIME_EVERY_S:
            offset = self._timestamp_offset()
            if offset is not None and self.video.latest is not None:
                index, time_s = self.video.latest
                timestamp = (offset + round(time_s * VIDEO_CLOCK_RATE)) % (1 << 32)
                messages.append(CaptureTime(timestamp, index, start_us + round(time_s * 1e6)))
                self._told_at = now
        messages += self.sound.time()
        return messages

    def _timestamp_offset(self) -> int | None:
        """The RTP timestamp of the call's start; None before anything was sent."""
        if self._offset is None and self._video_sender is not None and self._lr.first is not None:
            self._offset = timestamp_offset(self._video_sender, self._lr.first)
        return self._offset

    def _timestamp_now(self) -> int | None:
        offset = self._timestamp_offset()
        return None if offset is None else offset + round(self.clock.late_s(0.0) * VIDEO_CLOCK_RATE)
