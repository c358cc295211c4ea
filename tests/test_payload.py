"""aiortc's private names still exist, and what fills its slots behaves under the stock stack."""

import asyncio
import contextlib
import importlib.metadata
import socket
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import aioice.ice
import aiortc.codecs
import av
import numpy as np
import pytest
from aioice import Candidate
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceGatherer,
    RTCIceTransport,
    RTCPeerConnection,
    RTCRtpSender,
)
from aiortc.codecs.vpx import VpxPayloadDescriptor, vp8_depayload
from aiortc.exceptions import OperationError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from gemino.call import candidates, pacing, payload, rtcp
from gemino.call.av1_payload import depacketize
from gemino.call.jitter import Packet, Picture, PictureBuffer
from gemino.call.payload import VideoTap
from gemino.call.slot import PAYLOAD_MAX_BYTES, LrSlot, packetize_vp8
from gemino.config import LrCodec, Rung
from gemino.errors import CodecError
from gemino.frames import Frame
from gemino.video.lr import LrDecoder, LrEncoder


def connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def test_the_private_names_exist_in_the_pinned_release() -> None:
    assert importlib.metadata.version("aiortc") == "1.16.0"
    peer = connection()
    sender: Any = peer.addTransceiver("video").sender
    receiver: Any = peer.getTransceivers()[0].receiver
    ice = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    owners: dict[str, Any] = {
        "RTCRtpSender": sender,
        "RTCRtpReceiver": receiver,
        "RTCIceTransport": ice,
        "Connection": ice._connection,
    }
    owners |= {"RTCRtpTransceiver": peer.getTransceivers()[0], "aiortc.codecs": aiortc.codecs}
    owners["Candidate"] = Candidate("1", 1, "udp", 1, "192.0.2.1", 9, "host")
    owners["RTCDtlsTransport"] = sender.transport
    rooms = [room.PRIVATE_NAMES for room in (payload, candidates, rtcp, pacing)]
    assert owners.keys() == {name for names in rooms for name in names}
    for owner, names in [pair for room in rooms for pair in room.items()]:
        for name in names:
            assert hasattr(owners[owner], name), f"{owner} has no {name} any more"
    for name in ("relayed_candidate", "server_reflexive_candidate", "StunProtocol"):
        assert callable(getattr(aioice.ice, name))
    assert sender._RTCRtpSender__encoder is None
    assert sender._RTCRtpSender__rtp_history == {}
    assert receiver._RTCRtpReceiver__jitter_buffer.capacity == 512
    assert receiver._RTCRtpReceiver__codecs == {}
    assert peer.getTransceivers()[0]._codecs == []
    assert callable(aioice.ice.get_host_addresses)
    await peer.close()


@pytest.mark.parametrize("size", [1, 1_196, 1_197, 5_000])
def test_a_picture_survives_packetising(size: int) -> None:
    picture = bytes(number % 251 for number in range(size))
    payloads = packetize_vp8(picture, 0x7ABC)
    assert all(len(data) <= PAYLOAD_MAX_BYTES for data in payloads)
    assert b"".join(vp8_depayload(data) for data in payloads) == picture
    descriptors = [VpxPayloadDescriptor.parse(data)[0] for data in payloads]
    assert [d.partition_start for d in descriptors] == [1] + [0] * (len(payloads) - 1)
    assert {d.picture_id for d in descriptors} == {0x7ABC}


async def negotiate(
    ours: Sequence[LrCodec], theirs: Sequence[LrCodec] | None
) -> tuple[LrCodec | None, LrCodec | None, str, str]:
    """What the two peers agree on, and both descriptions; `theirs` None: a stock peer."""
    offering, answering = connection(), connection()
    transceivers = [peer.addTransceiver("video") for peer in (offering, answering)]
    try:
        with payload.av1_known():
            payload.prefer(transceivers[0], ours)
            await offering.setLocalDescription(await offering.createOffer())
        with payload.av1_known() if theirs is not None else contextlib.nullcontext():
            if theirs is not None:
                payload.prefer(transceivers[1], theirs)
            await answering.setRemoteDescription(offering.localDescription)
        await answering.setLocalDescription(await answering.createAnswer())
        with payload.av1_known():
            await offering.setRemoteDescription(answering.localDescription)
        agreed = [payload.agreed_codec(transceiver) for transceiver in transceivers]
        for peer, other in ((offering, answering), (answering, offering)):
            says_so = "a=fmtp:103 x-gemino-fovea=1" in other.localDescription.sdp
            assert payload.knows_fovea(peer) == says_so == ("AV1" in other.localDescription.sdp)
    finally:
        await asyncio.gather(offering.close(), answering.close())
    return agreed[0], agreed[1], offering.localDescription.sdp, answering.localDescription.sdp


AUTO: tuple[LrCodec, ...] = ("av1", "vp8")


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (AUTO, AUTO, "av1"),
        (AUTO, ("vp8",), "vp8"),
        (("vp8",), AUTO, "vp8"),
        (("vp8", "av1"), AUTO, "av1"),  # who answers has the say
        (("av1",), AUTO, "av1"),
        (AUTO, ("av1",), "av1"),
        (AUTO, None, "vp8"),
    ],
    ids=str,
)
async def test_peers_agree_on_av1_where_both_have_it(
    ours: tuple[LrCodec, ...], theirs: tuple[LrCodec, ...] | None, agreed: LrCodec
) -> None:
    here, there, offer, answer = await negotiate(ours, theirs)
    assert there == agreed
    assert here == agreed or ours == ("vp8", "av1")
    assert ("a=rtpmap:103 AV1/90000" in offer) == ("av1" in ours)
    assert ("a=rtpmap:97 VP8/90000" in offer) == ("vp8" in ours)
    assert ("AV1/90000" in answer) == (agreed == "av1")
    if agreed == "av1":
        for description in (offer, answer):
            assert "a=rtcp-fb:103 nack pli" in description
            assert "a=rtpmap:104 rtx/90000" in description
            assert "a=fmtp:104 apt=103" in description
    assert "H264" not in offer


async def test_peers_without_a_common_codec_cannot_call() -> None:
    with pytest.raises(OperationError):
        await negotiate(("av1",), ("vp8",))
    with pytest.raises(OperationError):
        await negotiate(("av1",), None)


async def test_plain_peers_of_this_process_know_nothing_of_av1() -> None:
    before = list(aiortc.codecs.CODECS["video"])
    with payload.av1_known(), payload.av1_known():
        assert len(aiortc.codecs.CODECS["video"]) == len(before) + 4
    assert aiortc.codecs.CODECS["video"] == before
    with pytest.raises(RuntimeError), payload.av1_known():
        raise RuntimeError
    plain = connection()
    plain.addTransceiver("video")
    assert "AV1" not in (await plain.createOffer()).sdp
    await plain.close()


def video_frame(number: int = 0) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 7 % 255, np.uint8), "rgb24")
    frame.pts, frame.time_base = number * 3000, Fraction(1, 90_000)
    return frame


def test_the_slot_passes_frames_times_and_key_frame_wishes() -> None:
    calls: list[tuple[tuple[int, ...], float, bool]] = []

    def encode(frame: Frame, time_s: float, force_keyframe: bool) -> bytes:
        calls.append((frame.shape, time_s, force_keyframe))
        return b"picture"

    slot = LrSlot(encode)
    payloads, timestamp = slot.encode(video_frame(3), force_keyframe=True)
    assert calls == [((64, 64, 3), 0.1, True)]
    assert timestamp == 9000
    assert slot.first == (payloads[0], 9000)
    slot.encode(video_frame(4))
    assert slot.first == (payloads[0], 9000)
    packet = av.Packet(b"ready made")
    packet.pts, packet.time_base = 6000, Fraction(1, 90_000)
    payloads, timestamp = slot.pack(packet)
    assert (vp8_depayload(payloads[0]), timestamp) == (b"ready made", 6000)


def test_a_peer_that_asks_with_each_picture_gets_a_key_frame_now_and_then() -> None:
    forced: list[bool] = []

    def encode(_frame: Frame, _time_s: float, force_keyframe: bool) -> bytes:
        forced.append(force_keyframe)
        return b"picture"

    slot = LrSlot(encode)
    for number in range(60):  # two seconds
        slot.encode(video_frame(number), force_keyframe=number < 50)
    at = [number for number, one in enumerate(forced) if one]
    assert at[0] == 0
    assert at[-1] >= 50  # what was asked for last came later
    assert {after - before for before, after in pairwise(at)} <= {9, 10}
    slot.request_keyframe()
    for number in range(70, 75):
        slot.encode(video_frame(number))
    assert forced[60:] == [True, False, False, False, False]


def test_whatever_ends_the_coding_of_pictures_is_told_to_the_call() -> None:
    def encode(*_: object) -> bytes:
        raise ValueError("no such picture")

    slot = LrSlot(encode)
    assert slot.encode(video_frame()) == ([], 0)
    assert "pictures cannot be sent any more: no such picture" in str(slot.failure)


def test_the_slot_packetises_av1_where_that_was_agreed() -> None:
    pictures: list[bytes] = []
    encoder = LrEncoder(Rung("av1", 64, 100))

    def encode(frame: Frame, _time_s: float, force_keyframe: bool) -> bytes:
        pictures.append(encoder.encode(frame, force_keyframe=force_keyframe).data)
        return pictures[-1]

    slot = LrSlot(encode, "av1")
    payloads = [slot.encode(video_frame(number))[0] for number in range(3)]
    assert [depacketize(some) for some in payloads] == pictures
    assert slot.packets == sum(map(len, payloads))
    slot = LrSlot(lambda *_: b"no temporal unit", "av1")
    assert slot.encode(video_frame()) == ([], 0)
    assert isinstance(slot.failure, CodecError)


async def test_a_picture_lost_for_good_is_noticed_and_a_key_frame_mends_it() -> None:
    """AV1 from the slot through `VideoTap` and buffer to the decoder, as aiortc delivers it."""
    encoder, decoder, buffer = LrEncoder(Rung("av1", 64, 20)), LrDecoder("av1"), PictureBuffer()
    key_wanted = False
    slot = LrSlot(lambda frame, *_: encoder.encode(frame, force_keyframe=key_wanted).data, "av1")
    peer = connection()
    receiver: Any = peer.addTransceiver("video").receiver
    receiver._RTCRtpReceiver__codecs = {103: RTCRtpCodecParameters("video/AV1", 90_000, None, 103)}
    arrived: list[Packet] = []
    tap = VideoTap(receiver, arrived.append)
    intact: list[bool] = []
    for number in range(12):
        now = number / 30
        payloads, timestamp = slot.encode(video_frame(number))
        assert len(payloads) == 1
        packet = RtpPacket(103, 1, 65_530 + number & 0xFFFF, timestamp, 1, payloads[0])
        if number != 4:
            receiver._RTCRtpReceiver__jitter_buffer.add(packet)
            buffer.add(arrived.pop(), now)
        for picture in buffer.take(now + (1.0 if number >= 6 else 0.0)):
            decoder.decode(picture.data, picture.index)
            intact.append(decoder.intact)
        key_wanted = bool(intact) and not decoder.intact
    assert intact == [True] * 4 + [False] * 2 + [True] * 5
    junk = RtpPacket(103, 1, 7, 0)
    for junk.payload in (b"", b"\x10", b"\x98x", b"\x20\xff\xff"):
        receiver._RTCRtpReceiver__jitter_buffer.add(junk)
    junk.payload_type, junk.payload = 99, b"\x10\x30"  # H.264 is none of ours
    receiver._RTCRtpReceiver__jitter_buffer.add(junk)
    assert arrived == []
    request = tap.pli()
    assert request is not None
    await request
    await peer.close()


def test_an_encoder_that_fails_is_noticed_and_not_only_logged() -> None:
    def encode(*_: object) -> bytes:
        raise CodecError("libvpx is out of order")

    slot = LrSlot(encode)
    assert slot.encode(video_frame()) == ([], 0)
    assert isinstance(slot.failure, CodecError)


class Stills(MediaStreamTrack):
    """Fifteen frames, 20 ms apart."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(0.02)
        self._number += 1
        if self._number > 15:
            await asyncio.sleep(3600)
        return video_frame(self._number)


class Arrivals:
    """Takes what a tap delivers and loses the sixth packet, once."""

    def __init__(self, codec: LrCodec) -> None:
        self.buffer = PictureBuffer()
        self.pictures: list[Picture] = []
        self.dropped = 0
        self._codec = codec

    def take(self, packet: Packet) -> None:
        now = asyncio.get_running_loop().time()
        assert packet.codec == self._codec
        if self.buffer.packets_received == 5 and not self.dropped:
            self.dropped += 1
            return
        self.buffer.add(packet, now)
        self.pictures.extend(self.buffer.take(now))


async def connected(
    sending: RTCPeerConnection, receiving: RTCPeerConnection, slot: LrSlot, arrivals: Arrivals
) -> tuple[RTCRtpSender, VideoTap]:
    """Stills go from one to the other, over real ICE, DTLS and SRTP."""
    sender = sending.addTrack(Stills())
    payload.fill_encoder_slot(sender, slot)
    with payload.av1_known():
        payload.prefer(sending.getTransceivers()[0], [slot.codec])
        await sending.setLocalDescription(await sending.createOffer())
        await receiving.setRemoteDescription(sending.localDescription)
    tap = VideoTap(receiving.getTransceivers()[0].receiver, arrivals.take)
    assert tap.pli() is None
    await receiving.setLocalDescription(await receiving.createAnswer())
    with payload.av1_known():
        await sending.setRemoteDescription(receiving.localDescription)
    for peer in (sending, receiving):
        candidates.Candidates(peer, [], relay_only=False).filter_sources()
    return sender, tap


async def exchange(tap: VideoTap, arrivals: Arrivals, forced: list[int], port: int) -> None:
    """Until all pictures are there: a stranger sends junk, what is lost is asked for again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(500):
            for junk in (b"\x16\xfe\xfd" + bytes(40), b"\x80\x60" + bytes(40)) * 5:
                stranger.sendto(junk, ("127.0.0.1", port))
            await asyncio.sleep(0.01)
            request = tap.nack(arrivals.buffer.nacks(asyncio.get_running_loop().time()))
            if request is not None:
                await request
            there = len(arrivals.pictures)
            if there == 8 and not forced and (pli := tap.pli()) is not None:
                await pli
            if there == 15:
                return


@pytest.mark.parametrize("codec", ["vp8", "av1"])
async def test_a_stream_crosses_the_stock_stack_with_a_lost_packet_and_a_stranger(
    codec: LrCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NACK, PLI, timestamps, and the source filter, on 127.0.0.1."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    candidates.use_loopback_addresses()
    sending, receiving = connection(), connection()
    encoder = LrEncoder(Rung(codec, 64, 30))
    forced: list[int] = []

    def encode(frame: Frame, time_s: float, force_keyframe: bool) -> bytes:
        if force_keyframe:
            forced.append(round(time_s * 30))
        return encoder.encode(frame, force_keyframe=force_keyframe).data

    slot, arrivals = LrSlot(encode, codec), Arrivals(codec)
    sender, tap = await connected(sending, receiving, slot, arrivals)
    candidate = receiving.localDescription.sdp.split("a=candidate:")[1].split()
    assert candidate[4] == "127.0.0.1"
    await exchange(tap, arrivals, forced, int(candidate[5]))
    pictures = arrivals.pictures
    assert [picture.index for picture in pictures] == list(range(15))
    assert arrivals.dropped == 1
    assert forced
    assert slot.first is not None
    offset = payload.timestamp_offset(sender, slot.first)
    assert offset is not None
    steps = [(picture.timestamp - offset) % (1 << 32) for picture in pictures]
    assert steps == [number * 3000 for number in range(1, 16)]
    decoder = LrDecoder(codec)
    for picture in pictures:
        decoder.decode(picture.data, picture.index)
    assert decoder.intact
    stats = (await receiving.getStats()).values()
    transport = next(entry for entry in stats if entry.type == "transport")
    assert transport.packetsReceived < 120  # the stranger's hundreds were not for us
    await sending.close()
    await receiving.close()
