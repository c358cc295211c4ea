"""Copies of packets at rates too low for Opus's own FEC: each packet brings the one before along.

libopus puts FEC copies into packets from about 18 kbps on. Below, between two Gemino peers, a whole
copy costs less than one might think: at 6 kbps 39 bytes, where a packet's headers are 50. The two
travel as one Opus packet of two frames (RFC 6716, section 3.2.4), the copy first; the RTP
timestamp is that of the second. Only speech of the SILK mode is sent so: one packet of up to 60 ms
is one frame there, so two frames can be nothing else. Peers agree on it in SDP (`sound_format`).
"""

from dataclasses import replace

from gemino.call.opus import LEAST_FEC_KBPS, OpusSettings

MIN_AUDIO_KBPS = 6.0
_CODE, _ONE_FRAME, _TWO_FRAMES = 0x3, 0, 2
_FIRST_HYBRID = 12
_LONG = 252
_ON, _OFF = 0.02, 0.004
"""Shares of lost packets, smoothed, at which copies begin and end to be sent."""
_SMOOTHING, _MOST_S = 0.1, 10.0
"""How much a second counts, and for how many seconds a report does at most."""


class CopyPolicy:
    """Whether copies pay, by what the other side reports: on at once, off after a while of calm.

    agreed: how sound is coded without them. known: the other side knows copies.
    """

    def __init__(self, agreed: OpusSettings, *, known: bool = False) -> None:
        self._agreed = agreed
        self._pays = known and not (agreed.fec and agreed.kbps >= LEAST_FEC_KBPS)
        self._on = False
        self._lost = 0.0

    def report(self, lost: float, seconds: float = 1.0) -> tuple[OpusSettings, bool]:
        """How to code from now on, and whether with copies.

        lost: the share of packets lost since the last report, so many seconds ago. With copies
        packets are coded at half the rate, where that is 6 kbps or more: what sound costs
        stays as it was, but for the least rates.
        """
        weight = 1 - (1 - _SMOOTHING) ** min(max(seconds, 0.0), _MOST_S)
        self._lost += weight * (lost - self._lost)
        if self._pays and max(lost, self._lost) > _ON:
            self._on = True
        elif self._lost < _OFF:
            self._on = False
        if not self._on:
            return self._agreed, False
        return replace(self._agreed, kbps=max(self._agreed.kbps / 2, MIN_AUDIO_KBPS)), True


def joined(copy: bytes, packet: bytes) -> bytes | None:
    """Both as one packet of two frames; None where they are not of one kind, or not speech."""
    if not copy or not packet or copy[0] != packet[0] or not _is_one_speech_frame(packet[0]):
        return None
    first = copy[1:]
    length = len(first)
    if length < _LONG:
        told = bytes([length])
    else:
        told = bytes([_LONG + (length & 0x3), (length - _LONG - (length & 0x3)) >> 2])
    return bytes([packet[0] | _TWO_FRAMES]) + told + first + packet[1:]


def parted(packet: bytes) -> tuple[bytes | None, bytes]:
    """The copy in `packet`, if there is one, and the packet without it."""
    if len(packet) < 4 or packet[0] & _CODE != _TWO_FRAMES or packet[0] >> 3 >= _FIRST_HYBRID:
        return None, packet
    at, length = 2, packet[1]
    if length >= _LONG:
        at, length = 3, length + 4 * packet[2]
    first, second = packet[at : at + length], packet[at + length :]
    if not first or not second:
        return None, packet
    head = bytes([packet[0] & ~_CODE & 0xFF])
    return head + first, head + second


def _is_one_speech_frame(head: int) -> bool:
    return head & _CODE == _ONE_FRAME and head >> 3 < _FIRST_HYBRID
