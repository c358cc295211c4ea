"""Everything one peer sends: a source's tracks, its codec, its references, its rate."""

import logging
from dataclasses import replace

from aiortc import RTCPeerConnection, RTCRtpSender

from gemino.call.adaptation import Adaptation, Budget, split
from gemino.call.options import PeerOptions
from gemino.call.payload import agreed_codec, knows_fovea, settle
from gemino.call.plain_pictures import PlainPictures, plain_steps
from gemino.call.recorder import LogRow
from gemino.call.rtcp import Clock
from gemino.call.sender import PictureSender
from gemino.call.showing import Showing
from gemino.call.side_information import SideInformation
from gemino.call.sources import Feed
from gemino.call.speaking import Speaking
from gemino.call.stats import Counters
from gemino.call.tracks import SourceFrame, VideoTrack
from gemino.config import EncoderConfig, LrCodec, first_reference_bytes
from gemino.errors import CallError, GeminoError
from gemino.frames import letterbox, resize
from gemino.wire import (
    AdapterAnswer,
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

_GRACE_S = 0.3
"""After the last frame: time for packets that must be sent again."""


class Outgoing:
    """The sending half of a call; no `async`, `now` is an argument. feed: closed by `close`."""

    def __init__(self, options: PeerOptions, feed: Feed) -> None:
        media = options.media
        self.counters = Counters()
        self.fps = feed.fps
        self.clock = feed.clock
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
        self.side = SideInformation(budget, self.counters, options.gallery, options.lends)
        self.shown = Showing(
            feed,
            self._pictures.encode,
            codec,
            self.counters,
            lambda: self._adaptation.kbps,
            self._begin_anew,
            keep_log=options.frame_log is not None,
        )
        self._displays = options.displays
        self.video.watch = self._show_self
        self.sound = Speaking(feed, media.sound.settings(media.kbps), options.listeners)
        self._ended_at: float | None = None
        self._told_state = MediaState(sends_picture=True, sends_sound=True)
        self._reported = (0, 0)
        self.their_model = ""
        """The other peer's network: "the same" as ours, "another one", or "none" ("": not told)."""

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing more can be sent, if so."""
        return self.shown.failure

    @property
    def video(self) -> VideoTrack:
        """The track of the pictures."""
        return self.shown.track

    def attach(self, connection: RTCPeerConnection) -> dict[RTCRtpSender, Clock]:
        """Add the tracks, with our encoders in the stock senders' slots; returns their clocks."""
        return self.shown.attach(connection) | self.sound.attach(connection)

    @property
    def codec(self) -> LrCodec:
        """The codec of our LR stream."""
        return self.shown.codec

    def agree(self, connection: RTCPeerConnection) -> None:
        """Take what the descriptions have agreed on; before media flows."""
        mine = self.shown.transceiver(connection)
        codec = None if mine is None else agreed_codec(mine)
        assert isinstance(self._pictures, PictureSender)
        if codec == "av1" and not knows_fovea(connection):
            self._pictures.look_evenly()
        if codec is not None and codec != self.codec:
            self._adaptation = self._adapt(codec)
            self._pictures.start_over(self._adaptation.budget.rung)
        self.shown.code(self._pictures.encode, codec or self.codec)

    def serve_plainly(self, connection: RTCPeerConnection) -> None:
        """Send ordinary VP8: the other peer is no Gemino; before media flows, after `agree`.

        Raises CallError where it does not take VP8.
        """
        mine = self.shown.transceiver(connection)
        if mine is not None and not settle(mine, "vp8"):
            raise CallError("the other peer is no Gemino and takes no VP8: no picture reaches it")
        media = self._media
        steps = plain_steps(media.size_px)
        self._adaptation = Adaptation(media.kbps, media.size_px, "vp8", steps, plain=True)
        self._pictures.close()
        self._pictures = PlainPictures(self._adaptation.budget.rung, self.fps, self.counters)
        self.shown.code(self._pictures.encode, "vp8")

    def spare_references(self) -> None:
        """The other peer has no network: all of the rate is for the small picture, from now on."""
        media = self._media
        self._adaptation = Adaptation(media.kbps, media.size_px, self.codec, plain=True)
        self._pictures.set_rung(self._adaptation.budget.rung)
        self.side.wanted = False

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
        self._pay(split(kbps, media.size_px, self.codec, self._ladders.get(self.codec)))

    def limit_references(self, largest_bytes: int) -> None:
        """Send none that is larger: the other peer would not take it."""
        self.side.largest_bytes = largest_bytes
        self._pay(self._adaptation.budget)

    def _pay(self, budget: Budget) -> None:
        most_bytes = min(budget.reference_max_bytes, self.side.largest_bytes)
        self._pictures.pay_for_references(most_bytes, budget.reference_kbps)

    def switch(self, feed: Feed) -> None:
        """Send `feed` instead, in mid-call; ours to close from now on.

        Raises CallError where what was sent has come to its end.
        """
        self.shown.switch(feed)
        self.sound.switch(feed)

    @property
    def shares(self) -> bool:
        """A screen is sent in place of our pictures."""
        return self.shown.shares

    def share(self, feed: Feed | None) -> None:
        """Send a screen's `feed` in place of our pictures, ours to close from now on; None: send
        our pictures again. Sound goes on.

        Raises CallError where what was sent has come to its end.
        """
        self.shown.share(feed)

    def _begin_anew(self) -> None:
        """A face follows on a screen: with a key frame."""
        self._pictures.set_rung(self._adaptation.budget.rung)
        self._pictures.request_keyframe()

    def on_loss(self, packets_lost: int) -> None:
        """Take how many of our packets of video have been lost since the call's start."""
        lost, sent = self._reported
        self._reported = (packets_lost, self.shown.packets)
        self._adaptation.on_loss(packets_lost - lost, self.shown.packets - sent)
        self.counters.packets_lost = packets_lost

    def _adapt(self, codec: LrCodec) -> Adaptation:
        media = self._media
        return Adaptation(media.kbps, media.size_px, codec, self._ladders.get(codec))

    def prime(self) -> None:
        """Encode the first frame, where it is known; blocks, raises MediaError or CodecError."""
        self.side.open()
        first = self.shown.feed.pictures.peek()
        if first is None:
            return
        self.side.begin(first.frame, self._media.size_px)
        if isinstance(self._pictures, PictureSender):
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
        messages = self.side.messages(now, self._pictures.take_references)
        if (budget := self._adaptation.update(now)) is not None:
            logger.info("LR stream now %s", budget.rung)
            self.side.pace(budget)
            self._pictures.set_rung(budget.rung)
            self._pay(budget)
        return [*messages, *self.shown.times(now), *self.sound.time(), *self._state()]

    def receive(self, message: Message) -> None:
        """Take what the other peer says about our stream; raises WireError."""
        if isinstance(message, ReferenceAck | ReferenceHave | AdapterAnswer):
            held = self.side.receive(message)
            if held is not None:
                self._pictures.receiver_holds(held)
        elif isinstance(message, ReferenceWish):
            self.side.wished()
            self._pictures.request_reference()
        elif isinstance(message, KeyframeWish):
            self.shown.request_keyframe()
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
        self.shown.close()
        self._pictures.close()

    def _show_self(self, frame: SourceFrame) -> None:
        picture, size_px = frame.frame, self._media.size_px
        if self.shown.desktop is not None:
            self.shown.desktop.kbps = self._adaptation.kbps
            picture = resize(letterbox(picture), size_px) if self._displays else picture
        else:
            self.side.begin(picture, size_px)
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
