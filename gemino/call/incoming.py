"""Everything one peer receives: packets to pictures to frames to files, and the answers to it."""

import logging
import math
import time
from collections.abc import Awaitable

from aiortc import RTCPeerConnection

from gemino.call import timecode
from gemino.call.adaptation import split
from gemino.call.album import Received
from gemino.call.audio import SoundPacket
from gemino.call.display import Listener, ShownFrame
from gemino.call.hearing import Hearing
from gemino.call.jitter import Packet, PictureBuffer, unwrap
from gemino.call.lending import AdapterReceiver, borrower
from gemino.call.lipsync import LipSync
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import Samples
from gemino.call.payload import VideoTap, tap_audio
from gemino.call.plain_times import PlainTimes
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.call.progress import Progress
from gemino.call.receiver import Viewer
from gemino.call.recorder import LogRow, Recorder
from gemino.call.references import ReferenceReceiver, Wish
from gemino.call.stats import Counters
from gemino.config import Sampling
from gemino.errors import GeminoError
from gemino.wire import (
    AdapterChunk,
    AdapterOffer,
    CaptureTime,
    MediaState,
    Message,
    ReferenceChunk,
    ReferenceOffer,
    ReferenceWish,
    SoundTime,
)
from gemino.zoo import find

logger = logging.getLogger(__name__)

MAX_REFERENCE_BYTES = 256 * 1024
_PLI_EVERY_S = 0.4
_QUIET_S = 1.0


class Incoming:
    """The receiving half of a call; no `async`, `now` is an argument (time.monotonic)."""

    def __init__(self, options: PeerOptions) -> None:
        self.counters = Counters()
        self.heard_at: float | None = None
        self.recorder: Recorder | None = None
        self._options = options
        self._buffer = PictureBuffer()
        kept = None if options.gallery is None else Received(options.gallery)
        self._references = ReferenceReceiver(MAX_REFERENCE_BYTES, kept)
        self._lent = borrower(options)
        self._wish = Wish()
        self._hearing = Hearing(self._write_sound, options.speaker)
        # A recording gets pictures as they come, and puts them in step by their times.
        self._screens = [one for one in options.displays if not isinstance(one, Listener)]
        self._lips = LipSync(self._show_live) if options.speaker and self._screens else None
        self._listeners = options.listeners
        self._capture: CaptureTime | None = None
        self._first_picture: int | None = None
        self._tap: VideoTap | None = None
        self._plain = False
        self._times = PlainTimes()
        self._pli_at = 0.0
        self._progress = Progress(self.counters)
        self._rejected = self._used_references = 0
        self._codes: dict[int, int] = {}
        media = options.media
        shown = media.size_px, self.counters, self._show
        self.viewer = Viewer(media.model, *shown, media.runtime, media.device, _likely(media))

    @property
    def failure(self) -> GeminoError | None:
        """Why nothing more can be shown or written, if so."""
        recording = self.recorder.failure if self.recorder is not None else None
        return self.viewer.failure or recording

    def tap(self, connection: RTCPeerConnection) -> None:
        """Take the packets of the connection's receivers; to be called before media flows."""
        for transceiver in connection.getTransceivers():
            if transceiver.kind == "video" and self._tap is None:
                self._tap = VideoTap(transceiver.receiver, self._on_packet)
            elif transceiver.kind == "audio":
                tap_audio(transceiver.receiver, self._on_audio)

    def expect_plainly(self) -> None:
        """The other peer is no Gemino: nobody tells when a picture or a sound was taken."""
        self._plain = self.viewer.plain = True
        self._hearing.expect_plainly()

    def hear_report(self, kind: str, time_of_day_s: float, timestamp: int) -> None:
        """Take what a sender report of RTCP says; a Gemino peer says more on its own."""
        self._times.report(kind, time_of_day_s, timestamp)

    def start(self, now: float, *, with_audio: bool) -> None:
        """Open the files; raises MediaError."""
        self._progress.start(now)
        options = self._options
        movies = [path for path in (options.output, options.lossless) if path is not None]
        keep_log = options.frame_log is not None
        side = options.media.size_px
        self.recorder = Recorder(movies, side, with_audio=with_audio, keep_log=keep_log)

    def tick(self, now: float) -> list[Message]:
        """To be called often: gives up what is lost for good, and returns what is to be said."""
        self._take(now)
        self._place_plain_sound(now)
        self.counters.packets_lost = self._buffer.packets_lost
        self._hearing.tick(now)
        self._keep_in_step()
        self.counters.audio_bytes = self._hearing.payload_bytes
        self.counters.audio_packets_lost = self._hearing.packets_lost
        self.counters.audio_packets_recovered = self._hearing.packets_recovered
        if self.counters.references != self._used_references:
            self._used_references = self.counters.references
            self.counters.reference_at = now
        wishes: list[Message] = []
        if self.viewer.rejected_references > self._rejected:
            self._rejected = self.viewer.rejected_references
            wishes.append(ReferenceWish())
        elif self._wish.due(self.viewer.lacking, now):
            wishes.append(ReferenceWish())
        return wishes + self._progress.messages(now)

    def feedback(self, now: float) -> list[Awaitable[None]]:
        """RTCP to be sent now: what to send again, and whether to send a key frame."""
        if self._tap is None:
            return []
        requests = []
        missing = self._buffer.nacks(now)
        if (nack := self._tap.nack(missing)) is not None:
            self.counters.nacks += len(missing)
            requests.append(nack)
        if self.viewer.wants_keyframe and now - self._pli_at >= _PLI_EVERY_S:
            if (pli := self._tap.pli()) is not None:
                self.counters.plis += 1
                requests.append(pli)
            self._pli_at = now
        return requests

    def receive(self, message: Message) -> list[Message]:
        """Take what the other peer says about its stream; returns answers, raises WireError."""
        if isinstance(message, ReferenceOffer | ReferenceChunk):
            answers = self._references.receive(message)
            self.counters.reference_bytes = self._references.bytes_received
            while (reference := self._references.take()) is not None:
                self.viewer.add_reference(reference)
            return answers
        if isinstance(message, AdapterOffer | AdapterChunk) and self._lent is not None:
            return self._borrow(self._lent, message)
        if isinstance(message, CaptureTime):
            self._capture = message
            self._place_sound()
        elif isinstance(message, MediaState):
            self.counters.picture_off = not message.sends_picture
            self.counters.sound_off = not message.sends_sound
        elif isinstance(message, SoundTime):
            self._hearing.tell(message, time.monotonic())
        return []

    def _borrow(self, lent: AdapterReceiver, message: AdapterOffer | AdapterChunk) -> list[Message]:
        answers = lent.receive(message)
        self.counters.adapter_bytes = lent.bytes_received
        if (taken := lent.take()) is not None:
            adapter, data = taken
            self.viewer.adopt(adapter, lambda: lent.keep(data))
        return answers

    def quiet(self, now: float) -> bool:
        """No media has come for a while."""
        return self.heard_at is None or now - self.heard_at >= _QUIET_S

    def close(self) -> None:
        """Show and write what is there and finish the files; blocks."""
        self.viewer.close()
        self._place_plain_sound(math.inf)  # nobody will tell any more
        self._hearing.close(time.monotonic())
        if self._lent is not None:
            self._lent.close()
        if self._lips is not None:
            self._lips.close()
        if self.recorder is not None:
            self.recorder.close()

    def frame_log(self) -> list[LogRow]:
        """A row for each shown frame, in order; captured_s is -1 where the sender said nothing."""
        rows = self.recorder.log if self.recorder is not None else []
        known = self._capture is not None
        return [
            row
            | {"captured_s": self._captured_s(int(row["timestamp"])) if known else -1.0}
            | {"code": self._codes.get(int(row["timestamp"]), timecode.UNREADABLE)}
            for row in rows
        ]

    def _on_packet(self, packet: Packet) -> None:
        now = time.monotonic()
        self.heard_at = now
        if self._plain and (taken := self._times.picture(packet.timestamp, now)) is not None:
            self.receive(taken)
        self._buffer.add(packet, now)
        self._take(now)

    def _take(self, now: float) -> None:
        pictures = self._buffer.take(now)
        if not pictures:
            return
        if self._first_picture is None:
            self._first_picture = pictures[0].timestamp
            self._place_sound()
        self.counters.lr_bytes += sum(len(picture.data) for picture in pictures)
        self.viewer.push(pictures)

    def _captured_s(self, timestamp: int) -> float:
        """When the picture with this RTP timestamp was taken, on the sender's monotonic clock."""
        capture = self._capture
        if capture is None:
            return math.nan
        behind = unwrap(timestamp, capture.rtp_timestamp, 1 << 32) - capture.rtp_timestamp
        return capture.captured_us / 1e6 + behind / VIDEO_CLOCK_HZ

    def _on_audio(self, packet: SoundPacket) -> None:
        now = time.monotonic()
        if self._plain:
            self._times.sound(packet.timestamp, now)
        self._hearing.add(packet, now)

    def _place_plain_sound(self, now: float) -> None:
        if self._plain and (taken := self._times.place_sound(now)) is not None:
            self._hearing.tell(taken, time.monotonic())

    def _place_sound(self) -> None:
        if self._capture is not None and self._first_picture is not None:
            self._hearing.see(self._captured_s(self._first_picture), time.monotonic())

    def _write_sound(self, samples: Samples) -> None:
        for listener in self._listeners:
            listener.hear(samples)
        if self.recorder is not None:
            self.recorder.write(samples)

    def _keep_in_step(self) -> None:
        """Let pictures and sound wait for one another."""
        speaker, heard = self._options.speaker, self._hearing.heard()
        if self._lips is not None and speaker is not None and heard is not None:
            self._lips.heard(*heard)
            speaker.hold_back(self._lips.hold_back_s(speaker.delay_s))

    def _show_live(self, shown: ShownFrame) -> None:
        for screen in self._screens:
            screen.show(shown)

    def _show(self, shown: ShownFrame) -> None:
        """In the viewer's thread."""
        if self._capture is not None and self._options.local and not self._plain:
            taken_s = self._captured_s(shown.timestamp)
            self.counters.latency_ms.add((shown.shown_s - taken_s) * 1000)
        if self._options.media.time_code and not shown.interpolated:
            self._codes[shown.timestamp] = timecode.read(shown.frame)
        in_step = self._capture is not None and shown.whole is None  # no lips on a screen
        if self._lips is not None and in_step:
            self._lips.put(shown, self._captured_s(shown.timestamp))
        else:
            self._show_live(shown)
        for listener in self._options.displays:
            if isinstance(listener, Listener):
                listener.show(shown)
        if self.recorder is not None:
            self.recorder.write(shown)


def _likely(media: MediaOptions) -> Sampling:
    """What the other peer's small pictures will be where it was told the rate that we were."""
    codec = media.lr_codecs[0]
    steps = find(media.model).ladders.get(codec) if media.model else None
    return split(media.kbps, media.size_px, codec, steps).rung.sampling
