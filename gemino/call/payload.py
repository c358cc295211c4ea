"""The one file that touches aiortc's and aioice's private names; pinned to aiortc 1.16.0.

The stock media stack stays as it is; this fills or replaces a handful of its slots, each named in
`PRIVATE_NAMES` and checked by a test:

- the encoder slot of a sender, so that our codecs run under the stock RTP, RTX and RTCP;
- the jitter buffer and NACK generator of a receiver. The stock buffer waits for the next picture's
  packet before it releases one, never drains a backlog, and asks for a gap once. Ours
  (`gemino.call.jitter`) gets every packet as it arrives, and the stock decoder thread stays idle;
- the RTP history of a sender, to learn the random offset of its timestamps;
- the sockets of an ICE connection, which take datagrams from any address for media: those that
  come from no known candidate are dropped;
- the list of host addresses, which leaves out 127.0.0.1: without it no call works on a machine
  that has no other interface.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import aioice.ice
import av
import numpy as np
from aiortc import RTCIceTransport, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.codecs.base import Encoder
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase
from aiortc.rtp import RtpPacket

from gemino.call.jitter import Packet as LrPacket
from gemino.errors import GeminoError
from gemino.frames import Frame

PRIVATE_NAMES = {
    "RTCRtpSender": ("_RTCRtpSender__encoder", "_RTCRtpSender__rtp_history"),
    "RTCRtpReceiver": (
        "_RTCRtpReceiver__jitter_buffer",
        "_RTCRtpReceiver__nack_generator",
        "_send_rtcp_nack",
        "_send_rtcp_pli",
    ),
    "Connection": ("_protocols",),
    "RTCIceTransport": ("_connection",),
}
PAYLOAD_MAX_BYTES = 1_200
_PICTURE_ID_MODULUS = 1 << 15

EncodePicture = Callable[[Frame, float, bool], bytes]
"""(frame, media time in seconds, key frame wanted) -> one coded VP8 picture."""


class LrSlot(Encoder):
    """Fills the encoder slot of a video sender: runs `encode` and packetises (RFC 7741).

    Called in one worker thread at a time. failure: the error that ended the stream; the stock
    sender would only log it.
    """

    def __init__(self, encode: EncodePicture) -> None:
        self.failure: GeminoError | None = None
        self.packets = 0
        self.first: tuple[bytes, int] | None = None
        """The first payload and its timestamp before the sender's random offset."""
        self._encode = encode
        self._picture_id = 0

    def encode(self, frame: object, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        assert isinstance(frame, av.VideoFrame)
        assert frame.pts is not None
        assert frame.time_base is not None
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        try:
            picture = self._encode(pixels, float(frame.pts * frame.time_base), force_keyframe)
        except GeminoError as error:
            self.failure = error
            return [], timestamp
        return self._packetize(picture, timestamp)

    def pack(self, packet: "av.Packet[Any]") -> tuple[list[bytes], int]:
        assert packet.pts is not None
        assert packet.time_base is not None
        timestamp = convert_timebase(packet.pts, packet.time_base, VIDEO_TIME_BASE)
        return self._packetize(bytes(packet), timestamp)

    def _packetize(self, picture: bytes, timestamp: int) -> tuple[list[bytes], int]:
        payloads = packetize(picture, self._picture_id)
        self._picture_id = (self._picture_id + 1) % _PICTURE_ID_MODULUS
        self.packets += len(payloads)
        if self.first is None and payloads:
            self.first = payloads[0], timestamp
        return payloads, timestamp


def packetize(picture: bytes, picture_id: int) -> list[bytes]:
    """One coded picture as RTP payloads with VP8 descriptors (RFC 7741, section 4.2)."""
    payloads = []
    descriptor = VpxPayloadDescriptor(partition_start=1, partition_id=0, picture_id=picture_id)
    at = 0
    while at < len(picture):
        head = bytes(descriptor)
        size = PAYLOAD_MAX_BYTES - len(head)
        payloads.append(head + picture[at : at + size])
        descriptor.partition_start = 0
        at += size
    return payloads


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
        try:
            descriptor, data = VpxPayloadDescriptor.parse(packet.payload)
        except ValueError:
            return  # stock aiortc drops these before us; an empty payload it lets through
        start = descriptor.partition_start == 1 and descriptor.partition_id == 0
        marker, number = bool(packet.marker), descriptor.picture_id
        self._deliver(
            LrPacket(packet.sequence_number, packet.timestamp, marker, start, number, data)
        )


def tap_audio(receiver: RTCRtpReceiver, deliver: Callable[[int, bytes], None]) -> None:
    """Give `deliver` the timestamp and payload of every audio packet of `receiver`."""
    slots: Any = receiver
    slots._RTCRtpReceiver__jitter_buffer = _Tap(
        lambda packet: deliver(packet.timestamp, packet.payload)
    )


def filter_sources(connection: RTCPeerConnection) -> None:
    """Drop media datagrams from addresses that are no candidate of the other peer's.

    aioice hands whatever is no STUN message to DTLS and SRTP, whoever sent it. To be called when
    candidates have been gathered.
    """
    transports = {id(t): t for t in _ice_transports(connection)}
    for transport in transports.values():
        agent: Any = transport
        for protocol in agent._connection._protocols:
            _filter_protocol(agent._connection, protocol)


def _ice_transports(connection: RTCPeerConnection) -> list[RTCIceTransport]:
    dtls = [transceiver.receiver.transport for transceiver in connection.getTransceivers()]
    if connection.sctp is not None:
        dtls.append(connection.sctp.transport)
    return [transport.transport for transport in dtls]


def _filter_protocol(agent: Any, protocol: Any) -> None:
    receive = protocol.datagram_received

    def datagram_received(data: bytes, address: tuple[Any, ...]) -> None:
        stun = bool(data) and data[0] < 4  # RFC 7983; STUN checks integrity by itself
        known = stun or any(
            candidate.host == address[0] and candidate.port == address[1]
            for candidate in agent.remote_candidates
        )
        if known:
            receive(data, address)

    protocol.datagram_received = datagram_received


def use_loopback_addresses() -> None:
    """From now on in this process, offer 127.0.0.1 as the only host candidate."""

    def get_host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return ["127.0.0.1"] if use_ipv4 or not use_ipv6 else ["::1"]

    aioice.ice.get_host_addresses = get_host_addresses
