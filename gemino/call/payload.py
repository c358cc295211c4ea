"""The media half of aiortc's private names; pinned to aiortc 1.16.0.

The stock media stack stays as it is; this fills or replaces a handful of its slots, each named in
`PRIVATE_NAMES` and checked by a test:

- the encoder slot of a sender, so that our codecs run under the stock RTP, RTX and RTCP;
- the list of codecs that may be offered, to which AV1 is added while two peers agree, and the
  outcome in a transceiver and a receiver;
- the jitter buffer and NACK generator of a receiver. The stock buffer waits for the next picture's
  packet before it releases one, never drains a backlog, and asks for a gap once. Ours
  (`gemino.call.jitter`) gets every packet as it arrives, and the stock decoder thread stays idle;
- the RTP history of a sender, to learn the random offset of its timestamps;
- the order in which a transport likes the ways of protecting packets.

`candidates` does the same for the ICE half, `rtcp` for reports.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import aiortc.codecs
from aiortc import (
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.codecs.base import Encoder
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from gemino.call import av1_payload
from gemino.call.audio import SoundPacket
from gemino.call.jitter import Packet as LrPacket
from gemino.config import LrCodec
from gemino.errors import WireError

PRIVATE_NAMES = {
    "RTCRtpSender": ("_RTCRtpSender__encoder", "_RTCRtpSender__rtp_history"),
    "RTCRtpTransceiver": ("_codecs",),
    "RTCRtpReceiver": (
        "_RTCRtpReceiver__codecs",
        "_RTCRtpReceiver__jitter_buffer",
        "_RTCRtpReceiver__nack_generator",
        "_send_rtcp_nack",
        "_send_rtcp_pli",
    ),
    "RTCDtlsTransport": ("_srtp_profiles",),
    "aiortc.codecs": ("CODECS",),
}
_LR_CODECS: Mapping[str, LrCodec] = {"video/vp8": "vp8", "video/av1": "av1"}
_FOVEA = "x-gemino-fovea"
"""A format parameter of video/AV1: pictures may look closer somewhere (`gemino.video.fovea`)."""
_SHORT_TAGS = b"SRTP_AES128_CM_SHA1_80"
_AV1_PAYLOAD_TYPE = 103
"""The stock codecs have 96..102; RTX has the next."""


@contextlib.contextmanager
def av1_known() -> Iterator[None]:
    """While it lasts, aiortc can offer and answer AV1, behind its own codecs; contexts may nest.

    To be held around createOffer, setRemoteDescription and `prefer`; what they agree on stays in
    the transceivers. Other connections of the process stay as they are, but for offers that they
    make meanwhile.
    """
    ours = [
        RTCRtpCodecParameters(
            # Nothing said of them: profile 0, level 3.1 (1024 x 1024 at 30 fps), tier 0.
            mimeType="video/AV1",
            clockRate=90_000,
            payloadType=_AV1_PAYLOAD_TYPE,
            parameters={_FOVEA: 1},
            rtcpFeedback=[RTCRtcpFeedback("nack"), RTCRtcpFeedback("nack", "pli")],
        ),
        RTCRtpCodecParameters(
            mimeType="video/rtx",
            clockRate=90_000,
            payloadType=_AV1_PAYLOAD_TYPE + 1,
            parameters={"apt": _AV1_PAYLOAD_TYPE},
        ),
    ]
    known = aiortc.codecs.CODECS["video"]
    known += ours
    try:
        yield
    finally:
        for codec in ours:
            known.remove(codec)


def prefer(transceiver: RTCRtpTransceiver, codecs: Sequence[LrCodec]) -> None:
    """Offer or accept these LR codecs alone, the best first; within `av1_known` where AV1 is one.

    To be called before the transceiver's descriptions are made.
    """
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    names = [f"video/{codec}" for codec in codecs] + ["video/rtx"]
    transceiver.setCodecPreferences(
        [one for name in names for one in capabilities if one.mimeType.lower() == name]
    )


def knows_fovea(connection: RTCPeerConnection) -> bool:
    """Whether the other peer says that it can show AV1 pictures with a fovea."""
    description: RTCSessionDescription | None = connection.remoteDescription
    lines = description.sdp.splitlines() if description is not None else []
    return any(line.startswith("a=fmtp:") and f"{_FOVEA}=1" in line for line in lines)


def agreed_codec(transceiver: RTCRtpTransceiver) -> LrCodec | None:
    """The LR codec to send: the first that both peers take; None before they have agreed."""
    slots: Any = transceiver
    return next(filter(None, map(_lr_codec, slots._codecs)), None)


def settle(transceiver: RTCRtpTransceiver, codec: LrCodec) -> bool:
    """Send `codec` of those agreed on, whichever the other peer likes best; False if it is none."""
    slots: Any = transceiver
    agreed = slots._codecs
    if codec not in map(_lr_codec, agreed):
        return False
    slots._codecs = sorted(agreed, key=lambda one: _lr_codec(one) != codec)
    return True


def _lr_codec(parameters: RTCRtpCodecParameters | None) -> LrCodec | None:
    name = "" if parameters is None else parameters.mimeType.lower()
    return _LR_CODECS.get(name)


def fill_encoder_slot(sender: RTCRtpSender, encoder: Encoder) -> None:
    """Make `sender` encode with `encoder`; to be called before media flows."""
    slots: Any = sender
    slots._RTCRtpSender__encoder = encoder


def timestamp_offset(sender: RTCRtpSender, first: tuple[bytes, int]) -> int | None:
    """What `sender` adds to its encoder's timestamps, modulo 2**32; None before it has sent.

    first: the encoder's first payload and timestamp; it stays in the history for 128 packets.
    """
    slots: Any = sender
    payload, timestamp = first
    for packet in list(slots._RTCRtpSender__rtp_history.values()):
        if packet.payload == payload:
            return int(packet.timestamp - timestamp) % (1 << 32)
    return None


def prefer_short_tags(connection: RTCPeerConnection) -> None:
    """Protect packets with tags of 10 bytes, where the other peer has that too; before DTLS begins.

    aiortc likes AES-GCM best, whose tags have 16 (RFC 7714): 2 kbps more in a call of 15. HMAC-SHA1
    with 80 bits is what every WebRTC peer has (RFC 8827, section 6.5).
    """
    for transceiver in connection.getTransceivers():
        transport: Any = transceiver.receiver.transport
        transport._srtp_profiles = sorted(
            transport._srtp_profiles, key=lambda one: one.openssl_profile != _SHORT_TAGS
        )


class _Tap(JitterBuffer):
    """Stands where the stock jitter buffer was and hands every packet on at once."""

    def __init__(self, deliver: Callable[[RtpPacket], None]) -> None:
        super().__init__(capacity=16)
        self._deliver = deliver

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        self._deliver(packet)
        return False, None


class VideoTap:
    """Every packet of one receiver's LR stream, retransmitted ones included, and the way back."""

    def __init__(self, receiver: RTCRtpReceiver, deliver: Callable[[LrPacket], None]) -> None:
        self._slots = cast(Any, receiver)
        self._deliver = deliver
        self._ssrc: int | None = None
        self._slots._RTCRtpReceiver__jitter_buffer = _Tap(self._on_packet)
        self._slots._RTCRtpReceiver__nack_generator = None

    def nack(self, sequences: list[int]) -> Awaitable[None] | None:
        """To be awaited: ask for lost packets again. None before the first packet."""
        if self._ssrc is None or not sequences:
            return None
        request: Awaitable[None] = self._slots._send_rtcp_nack(self._ssrc, sequences)
        return request

    def pli(self) -> Awaitable[None] | None:
        """To be awaited: ask for a key frame (PLI). None before the first packet."""
        if self._ssrc is None:
            return None
        request: Awaitable[None] = self._slots._send_rtcp_pli(self._ssrc)
        return request

    def _on_packet(self, packet: RtpPacket) -> None:
        self._ssrc = packet.ssrc
        codecs = self._slots._RTCRtpReceiver__codecs
        codec = _lr_codec(codecs.get(packet.payload_type))
        if codec is None:
            return
        try:
            start, number, data = _describe(codec, packet.payload)
        except (ValueError, WireError):
            return  # a gap that is asked for again
        marker = bool(packet.marker)
        self._deliver(
            LrPacket(packet.sequence_number, packet.timestamp, marker, start, number, data, codec)
        )


def _describe(codec: LrCodec, payload: bytes) -> tuple[bool, int | None, bytes]:
    """Start, picture_id and data of a packet with `payload`; ValueError, WireError."""
    if codec == "av1":
        return not av1_payload.parse(payload).continues, None, payload
    descriptor, data = VpxPayloadDescriptor.parse(payload)
    start = descriptor.partition_start == 1 and descriptor.partition_id == 0
    return start, descriptor.picture_id, data


def tap_audio(receiver: RTCRtpReceiver, deliver: Callable[[SoundPacket], None]) -> None:
    """Give `deliver` every packet of Opus that `receiver` gets."""
    slots: Any = receiver

    def on_packet(packet: RtpPacket) -> None:
        codec = slots._RTCRtpReceiver__codecs.get(packet.payload_type)
        if codec is not None and codec.mimeType.lower() == "audio/opus":
            deliver(SoundPacket(packet.sequence_number, packet.timestamp, packet.payload))

    slots._RTCRtpReceiver__jitter_buffer = _Tap(on_packet)
