"""RTCP reports of one connection, in place of aiortc's. Touches its private names.

aiortc sends a report a second for each stream, in a datagram of its own, and says in it that a
sample was captured when its packet left: sound then seems younger than the pictures beside it, by
as much as a packet is long. Here one task speaks for all streams, in one compound packet (RFC 3550,
section 6.1), and a sender report pairs the time of day with the RTP timestamp of what is captured
at that moment, which is what the other side needs for lip sync (section 6.4.1).

Between two Gemino peers a report is due every five seconds (section 6.2), at first sooner, so that
the round trip is known, and after a second where packets have been lost since the last one.
Everybody else gets one a second, as from aiortc.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import aiortc.clock
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtp import (
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
)

PRIVATE_NAMES = {
    "RTCRtpSender": (
        "_run_rtcp",
        "_ssrc",
        "_RTCRtpSender__cname",
        "_RTCRtpSender__lsr",
        "_RTCRtpSender__lsr_time",
        "_RTCRtpSender__ntp_timestamp",
        "_RTCRtpSender__octet_count",
        "_RTCRtpSender__packet_count",
        "_RTCRtpSender__rtcp_exited",
        "_RTCRtpSender__rtcp_started",
        "_RTCRtpSender__rtp_timestamp",
    ),
    "RTCRtpReceiver": (
        "_handle_rtcp_packet",
        "_run_rtcp",
        "_RTCRtpReceiver__lsr",
        "_RTCRtpReceiver__lsr_time",
        "_RTCRtpReceiver__remote_streams",
        "_RTCRtpReceiver__rtcp_exited",
        "_RTCRtpReceiver__rtcp_ssrc",
        "_RTCRtpReceiver__rtcp_started",
    ),
    "RTCDtlsTransport": ("_send_rtp",),
}
_FIRST_CALM_S, _CALM_S = 1.0, 5.0
_MODULUS = 1 << 32
_MAX_REPORTS = 31
"""A packet has five bits for their number."""

Clock = Callable[[], int | None]
"""The RTP timestamp of what is captured now; None before that is known."""
OnReport = Callable[[str, float, int], None]
"""Takes a kind of media, a time of day in seconds, and the RTP timestamp that belongs to it."""


class Reports:
    """Sends and reads the reports of `connection` from `take_over` on.

    clocks: of our senders; one without a clock says what it sent last, and when. on_report: gets
    what the other peer's sender reports say. sparing: the other peer is a Gemino, too.
    """

    def __init__(
        self,
        connection: RTCPeerConnection,
        clocks: Mapping[RTCRtpSender, Clock],
        on_report: OnReport | None = None,
    ) -> None:
        self.sparing = False
        self._connection = connection
        self._clocks = clocks
        self._on_report = on_report
        self._speakers: list[Any] = []
        """Whose tasks run; the first one's speaks for all."""
        self._reported_at: float | None = None
        self._calm_s = _FIRST_CALM_S
        self._reported_lost = 0

    def take_over(self) -> None:
        """Replace aiortc's reports; to be called before media flows."""
        for transceiver in self._connection.getTransceivers():
            sender: Any = transceiver.sender
            receiver: Any = transceiver.receiver
            sender._run_rtcp = partial(self._attend, sender, "_RTCRtpSender__rtcp")
            receiver._run_rtcp = partial(self._attend, receiver, "_RTCRtpReceiver__rtcp")
            receiver._handle_rtcp_packet = partial(self._read, receiver, transceiver.kind)

    async def _attend(self, slots: Any, prefix: str) -> None:
        """What aiortc runs as long as a sender or a receiver works."""
        getattr(slots, f"{prefix}_started").set()
        self._speakers.append(slots)
        try:
            while True:
                await asyncio.sleep(0.5 + random.random())  # RFC 3550, section 6.3.1
                if self._speakers[0] is slots and self._is_due(time.monotonic()):
                    await _send(slots, self._compound())
        except asyncio.CancelledError:
            pass
        self._speakers.remove(slots)
        if isinstance(slots, RTCRtpSender):
            slots_: Any = slots
            await _send(slots, [RtcpByePacket(sources=[slots_._ssrc])])
        getattr(slots, f"{prefix}_exited").set()

    def _is_due(self, now: float) -> bool:
        lost = sum(stream.packets_lost for *_, stream in self._streams())
        is_early = self._reported_at is not None and now - self._reported_at < self._calm_s
        if self.sparing and is_early and lost <= self._reported_lost:
            return False
        self._calm_s = min(2 * self._calm_s, _CALM_S)
        self._reported_at, self._reported_lost = now, lost
        return True

    def _compound(self) -> list[AnyRtcpPacket]:
        """Sender reports, with what we receive in the first; a receiver report where we send none.

        Nothing where there is nothing to tell.
        """
        received = self._received()[:_MAX_REPORTS]
        packets: list[AnyRtcpPacket] = []
        sources: list[RtcpSourceInfo] = []
        for transceiver in self._connection.getTransceivers():
            sender: Any = transceiver.sender
            if not sender._RTCRtpSender__packet_count:
                continue
            packets.append(self._sender_report(sender, received))
            received = []
            name = sender._RTCRtpSender__cname
            if name is not None:
                sources.append(RtcpSourceInfo(ssrc=sender._ssrc, items=[(1, name.encode())]))
        own_ssrc = self._own_ssrc()
        if not packets and received and own_ssrc is not None:
            packets.append(RtcpRrPacket(ssrc=own_ssrc, reports=received))
        if sources:
            packets.append(RtcpSdesPacket(chunks=sources))
        return packets

    def _sender_report(self, sender: Any, received: list[RtcpReceiverInfo]) -> RtcpSrPacket:
        timestamp = clock() if (clock := self._clocks.get(sender)) is not None else None
        ntp = aiortc.clock.current_ntp_time()
        if timestamp is None:
            ntp = sender._RTCRtpSender__ntp_timestamp
            timestamp = sender._RTCRtpSender__rtp_timestamp
        sender._RTCRtpSender__lsr = (ntp >> 16) % _MODULUS
        sender._RTCRtpSender__lsr_time = time.time()
        told = RtcpSenderInfo(
            ntp_timestamp=ntp,
            rtp_timestamp=timestamp % _MODULUS,
            packet_count=sender._RTCRtpSender__packet_count % _MODULUS,
            octet_count=sender._RTCRtpSender__octet_count % _MODULUS,
        )
        return RtcpSrPacket(ssrc=sender._ssrc, sender_info=told, reports=received)

    def _received(self) -> list[RtcpReceiverInfo]:
        """What came of each of the other peer's streams."""
        reports = []
        for receiver, ssrc, stream in self._streams():
            last = receiver._RTCRtpReceiver__lsr.get(ssrc, 0)
            since_s = time.time() - receiver._RTCRtpReceiver__lsr_time.get(ssrc, 0.0)
            reports.append(
                RtcpReceiverInfo(
                    ssrc=ssrc,
                    fraction_lost=stream.fraction_lost,
                    packets_lost=stream.packets_lost,
                    highest_sequence=stream.max_seq,
                    jitter=stream.jitter,
                    lsr=last,
                    dlsr=int(since_s * 65536) if last and 0 < since_s < 65536 else 0,
                )
            )
        return reports

    def _streams(self) -> list[tuple[Any, int, Any]]:
        """Receiver, SSRC and statistics of what comes."""
        receivers: list[Any] = [t.receiver for t in self._connection.getTransceivers()]
        return [
            (receiver, ssrc, stream)
            for receiver in receivers
            for ssrc, stream in receiver._RTCRtpReceiver__remote_streams.items()
        ]

    def _own_ssrc(self) -> int | None:
        receivers: list[Any] = [t.receiver for t in self._connection.getTransceivers()]
        ours = [receiver._RTCRtpReceiver__rtcp_ssrc for receiver in receivers]
        return next((ssrc for ssrc in ours if ssrc is not None), None)

    async def _read(self, receiver: RTCRtpReceiver, kind: str, packet: AnyRtcpPacket) -> None:
        await RTCRtpReceiver._handle_rtcp_packet(receiver, packet)
        if isinstance(packet, RtcpSrPacket) and self._on_report is not None:
            told = packet.sender_info
            self._on_report(kind, told.ntp_timestamp / _MODULUS, told.rtp_timestamp)


async def _send(slots: Any, packets: list[AnyRtcpPacket]) -> None:
    if not packets:
        return
    try:
        await slots.transport._send_rtp(b"".join(map(bytes, packets)))
    except ConnectionError:
        return  # closed, or not open yet
