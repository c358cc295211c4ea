"""What one peer hears: packets of sound into the recording, in step with its pictures, and to a
loudspeaker, in step with what is shown."""

from collections.abc import Callable

from gemino.call.audio import SoundPacket
from gemino.call.jitter import unwrap
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.call.sound_track import SoundTrack
from gemino.call.speaker import Speaker
from gemino.wire import SoundTime

_TIMESTAMP_MODULUS = 1 << 32


class Hearing:
    """The other side's sound. write: takes what belongs into the recording, in order.

    speaker: plays it; whoever opened it closes it. `now` is time.monotonic(); sample 0 of the
    recording belongs to the first picture.
    """

    def __init__(self, write: Callable[[Samples], None], speaker: Speaker | None = None) -> None:
        self._write = write
        self._speaker = speaker
        self._track = SoundTrack()
        self._time: SoundTime | None = None
        self._first_picture_s: float | None = None
        self._started = False
        self._last: int | None = None
        """The latest timestamp played, counted on from that of `_time`."""

    @property
    def payload_bytes(self) -> int:
        return self._track.payload_bytes

    @property
    def packets_lost(self) -> int:
        return self._track.lost

    @property
    def packets_recovered(self) -> int:
        return self._track.recovered

    def add(self, packet: SoundPacket, now: float) -> None:
        """Take a packet as it arrives."""
        if self._speaker is not None:
            self._speaker.push(packet, now)
        self._put(self._track.add(packet, now))

    def expect_plainly(self) -> None:
        """The other side is no Gemino, and sends no copies of ours."""
        self._track.expect_copies(copies=False)
        if self._speaker is not None:
            self._speaker.expect_copies(copies=False)

    def tell(self, message: SoundTime, now: float) -> None:
        """Take what was heard when, on the other side's clock; its first word counts."""
        if self._time is None:
            self._time = message
        self._start(now)

    def see(self, captured_s: float, now: float) -> None:
        """The first picture was taken then, on the other side's clock."""
        self._first_picture_s = captured_s
        self._start(now)

    def heard(self) -> tuple[float, float] | None:
        """When something was said, on the other side's clock, and when it is heard, on ours.

        None where nothing is heard.
        """
        playing = None if self._speaker is None else self._speaker.heard()
        if playing is None or self._time is None:
            return None
        self._last = unwrap(playing[0], self._last or self._time.rtp_timestamp, _TIMESTAMP_MODULUS)
        since_s = (self._last - self._time.rtp_timestamp) / SAMPLE_RATE_HZ
        return self._time.captured_us / 1e6 + since_s, playing[1]

    def tick(self, now: float) -> None:
        """To be called often: what is lost for good is made up for."""
        if self._started:
            self._put(self._track.take(now))

    def close(self, now: float) -> None:
        """Hand over the last of it."""
        self._put(self._track.finish(now))

    def _start(self, now: float) -> None:
        """Fix which sample belongs to the first picture, once all that needs is known."""
        if self._started or self._time is None or self._first_picture_s is None:
            return
        lead_s = self._first_picture_s - self._time.captured_us / 1e6
        lead = round(lead_s * SAMPLE_RATE_HZ)
        self._started = True
        origin = (self._time.rtp_timestamp + lead) % _TIMESTAMP_MODULUS
        self._put(self._track.start(origin, now))

    def _put(self, blocks: list[Samples]) -> None:
        for block in blocks:
            self._write(block)
