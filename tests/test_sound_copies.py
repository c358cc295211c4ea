"""Copies of packets below FEC's rates: what libopus makes of them, and what they bring back."""

import asyncio
import itertools
import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from aiortc import RTCDtlsTransport
from hypothesis import given
from hypothesis import strategies as st

from gemino.call.audio import OpusSlot, SoundPacket, SpeechStream
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import OpusDecoder, OpusSettings, Samples, packet_samples
from gemino.call.peer import Peer
from gemino.call.sound_copies import CopyPolicy, joined, parted
from gemino.call.sound_track import SoundTrack
from gemino.call.sources import ClipSource
from signaling import SignalingServer
from speech import ADDRESS, packets_of, speech

THIN = OpusSettings(kbps=6, packet_ms=60, dtx=True)


def slot_packets(samples: Samples, settings: OpusSettings, *, copies: bool) -> list[SoundPacket]:
    """What a sender's slot makes of `samples`."""
    slot = OpusSlot(settings)
    packets: list[SoundPacket] = []
    slot.copies = copies
    length = settings.packet_ms * 48
    for at in range(0, len(samples) - length + 1, length):
        block = samples[at : at + length].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.pts = at
        payloads, timestamp = slot.encode(frame)
        for data in payloads:
            packets.append(SoundPacket(len(packets), timestamp % (1 << 32), data))
    return packets


def heard(packets: list[SoundPacket], lost: set[int]) -> tuple[Samples, SoundTrack]:
    track = SoundTrack()
    blocks = track.start((1 << 32) - 312, 0.0)
    for number, packet in enumerate(packets):
        if number not in lost:
            blocks += track.add(packet, number * 0.06)
    return np.concatenate(blocks + track.finish(len(packets) * 0.06)), track


@pytest.mark.parametrize("settings", [THIN, OpusSettings(12, 20), OpusSettings(16, 40)])
def test_two_packets_are_one_that_libopus_decodes_alike(settings: OpusSettings) -> None:
    packets = [packet.data for packet in packets_of(speech()[:96_000], settings)]
    made = 0
    apart, together = OpusDecoder(), OpusDecoder()
    for copy, packet in zip(packets[::2], packets[1::2], strict=False):
        both = joined(copy, packet)
        halves = np.concatenate([apart.decode(copy), apart.decode(packet)])
        if both is None:  # of another bandwidth
            assert copy[0] != packet[0]
            both_samples = np.concatenate([together.decode(copy), together.decode(packet)])
        else:
            made += 1
            assert len(both) in (len(copy) + len(packet), len(copy) + len(packet) + 1)
            assert packet_samples(both) == len(halves)
            assert parted(both) == (copy, packet)
            both_samples = together.decode(both)
        assert np.array_equal(both_samples, halves)
    assert made > 5


def test_long_frames_are_told_apart_too() -> None:
    for length in (1, 251, 252, 255, 256, 600):
        copy, packet = b"\x08" + bytes([7]) * length, b"\x08" + bytes([9]) * 30
        both = joined(copy, packet)
        assert both is not None
        assert parted(both) == (copy, packet)


@pytest.mark.parametrize(
    "data", [b"", b"\x08", b"\x0a\x05\x01\x02", b"\x0a\xff", b"\x0a\x02\x01\x02"]
)
def test_what_is_no_pair_is_left_as_it_is(data: bytes) -> None:
    assert parted(data) == (None, data)
    assert joined(data, b"\x50\x01\x02") is None
    assert joined(b"\xf8\x01\x02", b"\xf8\x01\x02") is None  # no speech: CELT


@given(st.binary(max_size=400))
def test_no_packet_breaks_the_parting(data: bytes) -> None:
    copy, packet = parted(data)
    if copy is not None:
        assert joined(copy, packet) is not None
    stream = SpeechStream()
    stream.put(SoundPacket(5, 0, data))
    stream.skip()


def test_a_lost_packet_is_heard_bit_for_bit_from_its_copy() -> None:
    packets = slot_packets(speech(), THIN, copies=True)
    lost = set(range(7, len(packets) - 1, 9))
    whole, _ = heard(packets, set())
    mended, track = heard(packets, lost)
    assert track.lost == len(lost)
    assert track.recovered > 0.6 * len(lost)
    same = np.mean((whole == mended)[: len(mended)])
    plain, without = heard(slot_packets(speech(), THIN, copies=False), lost)
    assert without.recovered == 0
    assert same > np.mean(plain == whole[: len(plain)]) + 0.1


def test_copies_double_the_payload_and_nothing_else() -> None:
    alone = slot_packets(speech(), THIN, copies=False)
    paired = slot_packets(speech(), THIN, copies=True)
    assert [p.timestamp for p in paired] == [p.timestamp for p in alone]
    assert [parted(p.data)[1] for p in paired] == [p.data for p in alone]
    size, paired_size = (sum(len(p.data) for p in one) for one in (alone, paired))
    assert 1.5 < paired_size / size < 2.05
    assert np.array_equal(heard(alone, set())[0], heard(paired, set())[0])


def test_a_copy_after_a_pause_is_of_nothing() -> None:
    """A packet brings the one before along only where that one ends as it begins."""
    slot = OpusSlot(THIN)
    slot.copies = True
    sizes = []
    for at in (0, 2_880, 50_000, 52_880):
        samples = speech()[at : at + 2_880].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.pts = at
        (payload,), _ = slot.encode(frame)
        sizes.append(packet_samples(payload))
    assert sizes[0] == sizes[2] == 2_880


def test_pairs_of_a_plain_peer_are_its_own() -> None:
    packets = [packet.data for packet in packets_of(speech()[:96_000], OpusSettings(12, 20))]
    both = next(filter(None, (joined(a, b) for a, b in itertools.pairwise(packets))))
    for copies, samples in ((True, 960), (False, 1_920)):
        stream = SpeechStream(copies=copies)
        stream.put(SoundPacket(0, 0, both))
        taken = stream.take()
        assert taken is not None
        assert len(taken.samples) == samples


def test_copies_begin_with_the_first_loss_and_end_after_calm() -> None:
    policy = CopyPolicy(THIN, known=True)
    told = [policy.report(lost) for lost in (0.0, 0.1, *[0.0] * 60)]
    assert [copies for _, copies in told[:6]] == [False, True, True, True, True, True]
    assert told[-1] == (THIN, False)


@pytest.mark.parametrize(
    ("agreed", "known", "kbps", "copies"),
    [
        (OpusSettings(6, fec=True), True, 6, True),
        (OpusSettings(10, fec=True), True, 6, True),
        (OpusSettings(16, fec=True), True, 8, True),
        (OpusSettings(18, fec=True), True, 18, False),  # FEC does it
        (OpusSettings(18), True, 9, True),
        (OpusSettings(6, fec=True), False, 6, False),
    ],
)
def test_copies_cost_no_more_than_was_agreed_on(
    agreed: OpusSettings, known: bool, kbps: float, copies: bool
) -> None:
    settings, with_copies = CopyPolicy(agreed, known=known).report(0.2)
    assert (settings.kbps, with_copies) == (kbps, copies)


@pytest.mark.timeout(180)
async def test_a_call_that_loses_sound_sends_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child receives what this process sends, but for one packet of sound in seven."""
    send, number = RTCDtlsTransport._send_rtp, 0

    async def lossy(self: RTCDtlsTransport, data: bytes) -> None:
        nonlocal number
        opus = data[1] & 0x7F == 96  # its payload type; RTCP never has it
        number += opus
        if not opus or number % 7:
            await send(self, data)

    monkeypatch.setattr(RTCDtlsTransport, "_send_rtp", lossy)
    report = tmp_path / "report.json"
    async with SignalingServer("127.0.0.1", 0) as server:
        command = [sys.executable, "-m", "gemino.cli.call", "--peer", "lossy", "--local"]
        command += ["--server", server.url, "--size", "256", "--model", "none"]
        command += ["-o", str(tmp_path / "received.mp4"), "--report", str(report)]
        child = await asyncio.create_subprocess_exec(*command)
        media = MediaOptions(size_px=256, model=None, seconds=8.0)
        source = ClipSource(ADDRESS)
        options = PeerOptions("lossy", server.url, media, source=source, local=True)
        peer = Peer(options, lambda _peer, _now: None)
        await peer.run()
        assert await asyncio.wait_for(child.wait(), 60) == 0
    assert peer.outgoing is not None
    assert peer.outgoing.sound._opus.copies
    received = json.loads(report.read_text())["received"]
    assert received["audio_packets_lost"] > 8
    assert received["audio_packets_recovered"] > 0.3 * received["audio_packets_lost"]
