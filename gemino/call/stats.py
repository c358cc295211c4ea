"""What a call counts, and the two ways of telling it: W3C statistics and one status line.

Payload is what the codec made: LR pictures, references, sound. On the wire is everything that
left in UDP datagrams in the direction of the media, measured at the transport (RTP, RTX, RTCP,
DTLS), plus 28 bytes of IPv4 and UDP headers for each. A media packet's header costs 50 bytes of
that: IPv4 20, UDP 8, RTP 12, SRTP tag 10.
"""

import math
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gemino.config import REFERENCE_AMORTISATION_S

IP_UDP_BYTES = 28
_SAMPLES = 36_000
"""Twenty minutes at 30 fps: what percentiles are taken over."""


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` (0..1) of `values` do not exceed."""
    ranked = sorted(values)
    if not ranked:
        return None
    return ranked[max(math.ceil(share * len(ranked)) - 1, 0)]


class Samples:
    """The latest measurements of one duration, in milliseconds; of one size however many come."""

    def __init__(self) -> None:
        self._ring = array("f", bytes(_SAMPLES * array("f").itemsize))
        self._recent: deque[float] = deque(maxlen=60)
        self._count = 0

    def add(self, milliseconds: float) -> None:
        self._ring[self._count % _SAMPLES] = milliseconds
        self._count += 1
        self._recent.append(milliseconds)

    def recent(self) -> float:
        """Mean of the last sixty; 0 before the first."""
        recent = list(self._recent)
        return sum(recent) / len(recent) if recent else 0.0

    def recent_p(self, share: float) -> float | None:
        """As `p`, of the last sixty: two seconds at 30 fps."""
        return percentile(list(self._recent), share)

    def p(self, share: float) -> float | None:
        """The percentile of the last twenty minutes, rounded; None before the first."""
        value = percentile(self._ring[: self._count], share)
        return None if value is None else round(value, 2)


@dataclass(slots=True)
class Traffic:
    """Datagrams of the media's direction, as the transport counts them.

    setup_bytes: those of `onwire_bytes` that came before the media: DTLS, and the first words.
    rtt_ms: to the other peer and back, by its RTCP reports; known only of what we send.
    """

    packets: int = 0
    bytes: int = 0
    setup_bytes: int = 0
    rtt_ms: float | None = None

    @property
    def onwire_bytes(self) -> int:
        return self.bytes + IP_UDP_BYTES * self.packets


@dataclass(slots=True)
class Counters:
    """One peer's view of the media in one direction, since the call's start.

    frames: sent, or shown. frames_coded: encoded, or decoded. frames_dropped: late at the sender,
    or decoded without being shown. lr_codec, lr_px: of the latest LR picture. synthesize_ms: the
    receiver's reconstruction; coding_ms: the LR codec. latency_ms: capture to shown.
    first_shown_s: when the first picture was shown (time.monotonic). frames_carried: those of
    `frames_neural` that show the detail of the last drawn one (`carry`). frames_interpolated: those
    of `frames` that were not sent, but made from their neighbours. What the governor does to
    keep up: drawn_every: one picture in so many is drawn; drawn_px, drawn_by: how large and by
    which model, 0 and "" as long as that is as asked for. reference_at: when the newest reference
    left, or was first used (time.monotonic). picture_off, sound_off: its sender has switched its
    camera or its microphone off. adapter_bytes: of an adapter that is lent, sent or received;
    adapter: what it is called once it draws, without its owner's name.
    """

    frames: int = 0
    frames_neural: int = 0
    frames_coded: int = 0
    frames_dropped: int = 0
    key_frames: int = 0
    lr_bytes: int = 0
    reference_bytes: int = 0
    references: int = 0
    adapter_bytes: int = 0
    adapter: str = ""
    audio_bytes: int = 0
    audio_packets_lost: int = 0
    audio_packets_recovered: int = 0
    packets_lost: int = 0
    nacks: int = 0
    plis: int = 0
    garbage: int = 0
    lr_px: int = 0
    lr_codec: str = ""
    frames_carried: int = 0
    frames_interpolated: int = 0
    first_shown_s: float = 0.0
    drawn_px: int = 0
    drawn_by: str = ""
    drawn_every: int = 1
    reference_at: float | None = None
    picture_off: bool = False
    sound_off: bool = False
    traffic: Traffic = field(default_factory=Traffic)
    coding_ms: Samples = field(default_factory=Samples)
    synthesize_ms: Samples = field(default_factory=Samples)
    latency_ms: Samples = field(default_factory=Samples)

    def count_sent(
        self, size_bytes: int, *, keyframe: bool, seconds: float, px: int, codec: str
    ) -> None:
        """A picture of `px` was coded in so many seconds, and leaves."""
        self.coding_ms.add(seconds * 1000)
        self.frames += 1
        self.frames_coded += 1
        self.lr_bytes += size_bytes
        self.key_frames += keyframe
        self.lr_px, self.lr_codec = px, codec


def switched_off(counters: Counters) -> str:
    """What is off, for people: "", "camera off", "muted" or "camera off, muted"."""
    words = ["camera off"] * counters.picture_off + ["muted"] * counters.sound_off
    return ", ".join(words)


def kbps(size_bytes: float, seconds: float) -> float:
    """Bytes over seconds in kbps (1 kbps = 1000 bit/s); 0 for no time."""
    return size_bytes * 8 / 1000 / seconds if seconds > 0 else 0.0


def payload_kbps(counters: Counters, seconds: float) -> float:
    """Video payload: the LR stream over `seconds`, references over a minute or longer."""
    amortised_s = max(seconds, REFERENCE_AMORTISATION_S)
    return kbps(counters.lr_bytes, seconds) + kbps(counters.reference_bytes, amortised_s)


def onwire_kbps(counters: Counters, seconds: float) -> float:
    """All that left, with headers: what is sent once, which is the connection's making and the
    references, over a minute or longer, as in `payload_kbps`; the rest over `seconds`."""
    once = counters.traffic.setup_bytes + counters.reference_bytes
    amortised_s = max(seconds, REFERENCE_AMORTISATION_S)
    return kbps(counters.traffic.onwire_bytes - once, seconds) + kbps(once, amortised_s)


def w3c(counters: Counters, *, sends: bool, now: float) -> dict[str, Any]:
    """The counters under their names in W3C webrtc-stats; what has none there is prefixed."""
    common = {
        "type": "outbound-rtp" if sends else "inbound-rtp",
        "kind": "video",
        "timestamp": round(now * 1000, 1),
        "frameWidth": counters.lr_px,
        "frameHeight": counters.lr_px,
        "geminoLrCodec": counters.lr_codec,
        "nackCount": counters.nacks,
        "pliCount": counters.plis,
        "geminoLrBytes": counters.lr_bytes,
        "geminoReferenceBytes": counters.reference_bytes,
        "geminoReferences": counters.references,
        "geminoAdapterBytes": counters.adapter_bytes,
        "geminoAudioBytes": counters.audio_bytes,
        "geminoAudioPacketsLost": counters.audio_packets_lost,
        "geminoOnWireBytes": counters.traffic.onwire_bytes,
        "geminoMessagesDropped": counters.garbage,
        "geminoCodingMs": round(counters.coding_ms.recent(), 2),
    }
    if sends:
        return common | {
            "framesSent": counters.frames,
            "framesEncoded": counters.frames_coded,
            "keyFramesEncoded": counters.key_frames,
            "geminoFramesLate": counters.frames_dropped,
        }
    return common | {
        "framesDecoded": counters.frames_coded,
        "framesRendered": counters.frames,
        "framesDropped": counters.frames_dropped,
        "packetsLost": counters.packets_lost,
        "geminoFramesNeural": counters.frames_neural,
        "geminoFramesCarried": counters.frames_carried,
        "geminoFramesInterpolated": counters.frames_interpolated,
        "geminoDrawnPx": counters.drawn_px,
        "geminoDrawnBy": counters.drawn_by,
        "geminoDrawnEvery": counters.drawn_every,
        "geminoSynthesizeMs": round(counters.synthesize_ms.recent(), 2),
        "geminoLatencyMs": round(counters.latency_ms.recent(), 2),
    }


@dataclass(frozen=True, slots=True)
class Rates:
    """What one direction carried between two looks, in kbps, and frames a second.

    loss: share of its packets that did not arrive, 0..1.
    """

    lr: float = 0.0
    reference: float = 0.0
    sound: float = 0.0
    wire: float = 0.0
    fps: float = 0.0
    loss: float = 0.0

    @property
    def payload(self) -> float:
        return self.lr + self.reference + self.sound


_EVERY = {2: "every second picture drawn", 3: "every third picture drawn"}


def keeping_up(counters: Counters) -> str:
    """What the governor has given up to keep the call live, in words; "" for nothing."""
    parts = [_EVERY[counters.drawn_every]] if counters.drawn_every > 1 else []
    if counters.drawn_px:
        parts.append(f"drawn by {counters.drawn_by} at {counters.drawn_px} px")
    return ", ".join(parts)


class Meter:
    """Rates between two looks at the counters. rates: those of the latest look."""

    def __init__(self) -> None:
        self.rates = Rates()
        self._last = (0.0, 0, 0, 0, 0, 0)
        self._packets = (0, 0)

    def measure(self, counters: Counters, now: float) -> Rates:
        """Look again. The first look takes it that the call has run for a second."""
        sound, wire = counters.audio_bytes, counters.traffic.onwire_bytes
        marks = (now, counters.lr_bytes, counters.reference_bytes, sound, wire, counters.frames)
        last, self._last = self._last, marks
        seconds = now - last[0] if last[0] else 1.0
        fps = (marks[5] - last[5]) / seconds if seconds > 0 else 0.0
        lr, reference, heard, carried = (kbps(marks[i] - last[i], seconds) for i in range(1, 5))
        self.rates = Rates(lr, reference, heard, carried, fps, self._loss(counters))
        return self.rates

    def _loss(self, counters: Counters) -> float:
        before, self._packets = self._packets, (counters.packets_lost, counters.traffic.packets)
        lost, arrived = (
            max(now - then, 0) for now, then in zip(self._packets, before, strict=True)
        )
        return lost / (lost + arrived) if lost else 0.0

    def line(self, counters: Counters, *, sends: bool, size_px: int, now: float) -> str:
        """One status line of a look at the counters."""
        rates = self.measure(counters, now)
        payload = f"{rates.lr:5.1f} kbps LR +{rates.reference:5.1f} ref +{rates.sound:4.1f} sound"
        lr = f"LR {counters.lr_codec or '-'} {counters.lr_px} px"
        lr = f"{off} | {lr}" if (off := switched_off(counters)) else lr
        shared = f"{payload} = {rates.wire:5.1f} on the wire | {lr}"
        if sends:
            coding = f"encode {counters.coding_ms.recent():4.1f} ms"
            return f"{shared} | {rates.fps:4.1f} fps sent | {coding}"
        how = "neural" if counters.frames_neural else "classical"
        if counters.frames_neural and (eased := keeping_up(counters)):
            how += f", {eased} to keep up"
        return (
            f"{shared} -> {size_px} | {rates.fps:4.1f} fps shown, {how} | decode "
            f"{counters.coding_ms.recent():4.1f}, rebuild {counters.synthesize_ms.recent():5.1f}, "
            f"latency {counters.latency_ms.recent():5.1f} ms"
        )
