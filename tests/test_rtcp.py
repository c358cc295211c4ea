"""RTCP reports: how often, what they say, and that they cross a call."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiortc.clock
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtcpPacket, RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket

from gemino.call.rtcp import Reports
from test_switches import Colour, call, until


@pytest_asyncio.fixture
async def connection() -> AsyncIterator[RTCPeerConnection]:
    """One that could send and receive pictures and sound, and is connected to nobody."""
    made = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in ("video", "audio"):
        made.addTransceiver(kind)
    yield made
    await made.close()


def receive(connection: RTCPeerConnection, ssrc: int, lost: int = 0) -> Any:
    """Statistics of a stream of which ten packets came and `lost` did not."""
    receiver: Any = connection.getTransceivers()[0].receiver
    receiver._set_rtcp_ssrc(77)
    stream: Any = StreamStatistics(90_000)
    stream.base_seq, stream.max_seq, stream.packets_received = 1, 10 + lost, 10
    receiver._RTCRtpReceiver__remote_streams[ssrc] = stream
    return stream


def told(reports: Reports) -> list[Any]:
    """What the next datagram says."""
    return list(RtcpPacket.parse(b"".join(map(bytes, reports._compound()))))


async def test_reports_are_rare_while_nothing_is_lost(connection: RTCPeerConnection) -> None:
    stream = receive(connection, 5)
    reports = Reports(connection, {})
    reports.sparing = True
    assert [now for now in range(30) if reports._is_due(float(now))] == [0, 2, 6, 11, 16, 21, 26]
    assert not reports._is_due(27.0)
    stream.max_seq += 3
    assert reports._is_due(28.0)
    assert not reports._is_due(29.0)  # that is told
    reports.sparing = False
    assert all(reports._is_due(now) for now in (29.1, 30.1, 31.1))


async def test_who_sends_nothing_tells_what_comes(connection: RTCPeerConnection) -> None:
    receive(connection, 5, lost=2)
    (packet,) = told(Reports(connection, {}))
    assert isinstance(packet, RtcpRrPacket)
    assert packet.ssrc == 77
    (report,) = packet.reports
    assert (report.ssrc, report.packets_lost, report.highest_sequence) == (5, 2, 12)
    assert report.fraction_lost == 2 * 256 // 12


async def test_nothing_is_told_before_anything_was_sent(connection: RTCPeerConnection) -> None:
    assert Reports(connection, {})._compound() == []


async def test_all_streams_are_told_of_together(connection: RTCPeerConnection) -> None:
    receive(connection, 5)
    video, audio = (transceiver.sender for transceiver in connection.getTransceivers())
    for sender in (video, audio):
        slots: Any = sender
        slots._RTCRtpSender__packet_count, slots._RTCRtpSender__cname = 3, "name"
        slots._RTCRtpSender__ntp_timestamp, slots._RTCRtpSender__rtp_timestamp = 1 << 40, 9
    first, second, names = told(Reports(connection, {video: lambda: 123, audio: lambda: None}))
    assert isinstance(first, RtcpSrPacket)
    assert isinstance(second, RtcpSrPacket)
    assert isinstance(names, RtcpSdesPacket)
    assert [report.ssrc for report in first.reports] == [5]
    assert second.reports == []
    now_s = aiortc.clock.current_ntp_time() / (1 << 32)
    assert first.sender_info.rtp_timestamp == 123
    assert first.sender_info.ntp_timestamp / (1 << 32) == pytest.approx(now_s, abs=20)
    # Without a clock: what was sent last, and when.
    assert (second.sender_info.ntp_timestamp, second.sender_info.rtp_timestamp) == (1 << 40, 9)
    assert [chunk.ssrc for chunk in names.chunks] == [first.ssrc, second.ssrc]


async def test_two_gemino_peers_learn_the_round_trip_and_take_short_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with call(Colour(90), tmp_path, monkeypatch) as (sender, _, _):
        outgoing = sender.outgoing
        assert outgoing is not None
        await until(lambda: outgoing.counters.traffic.rtt_ms is not None)
        transport: Any = sender._link.connection.getTransceivers()[0].sender.transport
        assert transport._ssl.get_selected_srtp_profile() == b"SRTP_AES128_CM_SHA1_80"
    assert outgoing.counters.traffic.rtt_ms is not None
    assert outgoing.counters.traffic.rtt_ms < 5_000
