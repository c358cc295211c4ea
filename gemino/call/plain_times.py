"""When a plain WebRTC peer took its pictures and its sound.

It says so in RTCP alone: a sender report pairs the RTP timestamp of a stream with the time of day
(RFC 3550, section 6.4.1), and two of them tell which sound belongs to which picture. Pictures are
placed by the arrival of the first one, sound by the reports of both, which are there after a second
or so; where none come, or make no sense, by the arrival of its own first packet.
"""

from dataclasses import dataclass

from gemino.call.jitter import unwrap
from gemino.call.opus import SAMPLE_RATE_HZ
from gemino.call.playout import VIDEO_CLOCK_HZ
from gemino.wire import CaptureTime, SoundTime

_MODULUS = 1 << 32
_PATIENCE_S = 3.0
_MOST_APART_S = 2.0
"""Reports that put sound further from where its arrival puts it make no sense."""
_RATES_HZ = {"video": VIDEO_CLOCK_HZ, "audio": SAMPLE_RATE_HZ}


@dataclass(frozen=True, slots=True)
class _Moment:
    """at_s: on our monotonic clock where it is an arrival, else the sender's time of day."""

    timestamp: int
    at_s: float


class PlainTimes:
    """Packets and reports in, once each what `Incoming` hears from a Gemino peer out."""

    def __init__(self) -> None:
        self._arrived: dict[str, _Moment] = {}
        self._reported: dict[str, _Moment] = {}
        self._placed = False

    def picture(self, timestamp: int, now: float) -> CaptureTime | None:
        """Take a packet of a picture; when it was taken, where it is the first."""
        if "video" in self._arrived:
            return None
        self._arrived["video"] = _Moment(timestamp, now)
        return CaptureTime(timestamp, 0, round(now * 1e6))

    def sound(self, timestamp: int, now: float) -> None:
        """Take a packet of sound."""
        self._arrived.setdefault("audio", _Moment(timestamp, now))

    def report(self, kind: str, time_of_day_s: float, timestamp: int) -> None:
        """Take a sender report; the first of each kind counts."""
        if kind in _RATES_HZ:
            self._reported.setdefault(kind, _Moment(timestamp, time_of_day_s))

    def place_sound(self, now: float) -> SoundTime | None:
        """When sound was taken, once that is known, or nobody will tell any more."""
        first = self._arrived.get("audio")
        if self._placed or first is None:
            return None
        told = self._told(first)
        if told is None and now - first.at_s < _PATIENCE_S:
            return None
        self._placed = True
        return SoundTime(first.timestamp, round((told or first.at_s) * 1e6))

    def _told(self, first: _Moment) -> float | None:
        """When the first sound was taken, by the reports, on the clock of the pictures."""
        seen, shown, said = (
            self._arrived.get("video"),
            self._reported.get("video"),
            self._reported.get("audio"),
        )
        if seen is None or shown is None or said is None:
            return None
        # From the first sound to the audio report, to the video report, to the first picture.
        sound_s = _seconds("audio", said.timestamp, first.timestamp)
        picture_s = _seconds("video", shown.timestamp, seen.timestamp)
        taken_s = seen.at_s + picture_s + (said.at_s - shown.at_s) - sound_s
        return taken_s if abs(taken_s - first.at_s) < _MOST_APART_S else None


def _seconds(kind: str, timestamp: int, since: int) -> float:
    return (unwrap(timestamp, since, _MODULUS) - since) / _RATES_HZ[kind]
