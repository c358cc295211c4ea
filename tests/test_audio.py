"""Opus as the call uses it: rates, silence, lost packets and what is made up for them."""

import gc
import threading
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from aiortc.codecs.opus import OpusDecoder as StockDecoder
from aiortc.codecs.opus import OpusEncoder as StockEncoder
from aiortc.jitterbuffer import JitterFrame

from gemino.call.audio import OpusSlot, SoundPacket, SpeechStream
from gemino.call.opus import (
    MAX_PACKET_BYTES,
    SAMPLE_RATE_HZ,
    OpusDecoder,
    OpusEncoder,
    OpusSettings,
    Samples,
    has_fec_copy,
    packet_samples,
    version,
)
from gemino.call.sound_track import SoundTrack
from gemino.errors import CodecError
from speech import log_spectral_distance, packets_of, signal_to_noise, speech, tone

LOSSY = OpusSettings(kbps=24, packet_ms=60, fec=True, loss_percent=20, dtx=True)


def track_of(packets: list[SoundPacket], origin: int = 0) -> Samples:
    """What a recording gets of `packets`, which come in this order, 60 ms apart."""
    track = SoundTrack()
    blocks = track.start(origin, 0.0)
    for number, packet in enumerate(packets):
        blocks += track.add(packet, number * 0.06)
    return np.concatenate(blocks + track.finish(len(packets) * 0.06))


def test_the_library_says_which_it_is() -> None:
    assert version().startswith("libopus")


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
@pytest.mark.parametrize("kbps", [6.0, 16.0, 32.0])
def test_speech_costs_what_was_asked(kbps: float, packet_ms: int) -> None:
    packets = packets_of(speech(), OpusSettings(kbps, packet_ms))
    assert {packet_samples(packet.data) for packet in packets} == {packet_ms * 48}
    spent = sum(len(packet.data) for packet in packets) * 8 / 1000 / (len(speech()) / 48_000)
    assert 0.7 * kbps < spent < 1.05 * kbps


def test_the_stock_decoder_of_aiortc_takes_our_packets() -> None:
    packets = packets_of(tone(3.0), OpusSettings(kbps=8))
    assert {b.timestamp - a.timestamp for a, b in pairwise(packets)} == {2_880}
    stock = StockDecoder()
    frames = [
        frame
        for packet in packets
        for frame in stock.decode(JitterFrame(packet.data, packet.timestamp))
    ]
    assert sum(f.samples for f in frames if isinstance(f, av.AudioFrame)) == len(packets) * 2_880


def test_stereo_packets_of_20_ms_from_a_stock_peer_are_heard_in_mono() -> None:
    stock, track = StockEncoder(), SoundTrack()
    blocks = track.start(0, 0.0)
    sound, sent = speech()[:96_000], 0
    for at in range(0, len(sound), 960):
        both = np.repeat(sound[at : at + 960], 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
        payloads, timestamp = stock.encode(frame)
        for payload in payloads:
            blocks += track.add(SoundPacket(sent, timestamp, payload), 0.0)
            sent += 1
    heard = np.concatenate(blocks)
    assert sent > 95
    assert signal_to_noise(heard[312:90_000], sound[: 90_000 - 312]) > 10


def test_silence_costs_next_to_nothing_with_dtx() -> None:
    silence = np.zeros(5 * SAMPLE_RATE_HZ, np.int16)
    with_dtx = packets_of(silence, OpusSettings(packet_ms=20, dtx=True))
    without = packets_of(silence, OpusSettings(packet_ms=20))
    assert len(without) == 250
    assert len(with_dtx) < 30


def test_the_rate_can_change_while_the_encoder_runs() -> None:
    slot, sizes = OpusSlot(OpusSettings(6.0)), []
    for kbps in (6.0, 32.0):
        slot.settings = OpusSettings(kbps)
        sent = slot.payload_bytes
        for at in range(0, 4 * SAMPLE_RATE_HZ, 2_880):
            block = speech()[at : at + 2_880].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.pts = at
            payloads, timestamp = slot.encode(frame)
            assert payloads
            assert timestamp == at - 312  # the look-ahead: 6.5 ms
        sizes.append(slot.payload_bytes - sent)
    assert sizes[1] > 3 * sizes[0]
    assert slot.packets == 2 * 67
    assert slot.first is not None


@pytest.mark.parametrize(("kbps", "packet_ms"), [(18, 20), (18, 60), (24, 40), (32, 60)])
def test_a_lost_packet_is_recovered_from_the_next_one(kbps: float, packet_ms: int) -> None:
    """What FEC brings back is nearer to what was lost than what concealment makes up."""
    packets = packets_of(speech(), OpusSettings(kbps, packet_ms, fec=True, loss_percent=20))
    length, gained = packet_ms * 48, []
    for lost in range(10, len(packets) - 1, 180 // packet_ms):
        meant, hidden, recovered = OpusDecoder(), OpusDecoder(), OpusDecoder()
        for packet in packets[lost - 5 : lost]:
            for decoder in (meant, hidden, recovered):
                decoder.decode(packet.data)
        right = meant.decode(packets[lost].data)
        if np.abs(right).mean() < 300:
            continue
        made_up = signal_to_noise(hidden.conceal(length), right)
        from_copy = signal_to_noise(recovered.recover(packets[lost + 1].data, length), right)
        gained.append(from_copy - made_up)
    assert len(gained) > 15
    assert np.median(gained) > 3


@pytest.mark.parametrize(
    ("settings", "least", "most"),
    [
        (OpusSettings(24, 60, fec=True, loss_percent=20), 0.7, 1.0),
        (OpusSettings(24, 20, fec=True, loss_percent=20), 0.5, 1.0),
        (OpusSettings(24, 60), 0.0, 0.0),
        (OpusSettings(6, 60, fec=True, loss_percent=20), 0.0, 0.0),  # libopus finds it too dear
    ],
)
def test_a_copy_in_a_packet_is_seen(settings: OpusSettings, least: float, most: float) -> None:
    packets = packets_of(speech(), settings)
    share = sum(has_fec_copy(packet.data) for packet in packets) / len(packets)
    assert least <= share <= most
    assert not has_fec_copy(b"")
    assert not has_fec_copy(b"\xff\xff")


def test_without_fec_there_is_nothing_to_recover() -> None:
    packets = packets_of(speech(), OpusSettings(24, 60, fec=False, loss_percent=20))
    hidden, recovered = OpusDecoder(), OpusDecoder()
    for decoder in (hidden, recovered):
        decoder.decode(packets[20].data)
    recovered_samples = recovered.recover(packets[22].data, 2_880)
    assert np.array_equal(hidden.conceal(2_880), recovered_samples)


@pytest.mark.parametrize(
    ("settings", "gain_db"), [(OpusSettings(kbps=6), 1.5), (LOSSY, 4.0)], ids=["concealed", "fec"]
)
def test_lost_speech_is_nearer_to_what_was_said_than_silence(
    settings: OpusSettings, gain_db: float
) -> None:
    """A packet in ten is lost; what is heard in its place against what should be."""
    packets = packets_of(speech(), settings)
    lost = set(range(5, len(packets) - 1, 10))
    meant = track_of(packets)
    heard = track_of([one for number, one in enumerate(packets) if number not in lost])
    assert len(heard) == len(meant)
    there = np.concatenate(
        [np.arange(2_880) + packets[number].timestamp for number in sorted(lost)]
    )
    loud = there[np.repeat(np.abs(meant[there]).reshape(-1, 2_880).mean(1) > 200, 2_880)]
    silence = log_spectral_distance(np.zeros(len(loud), np.int16), meant[loud])
    made_up = log_spectral_distance(heard[loud], meant[loud])
    assert made_up < silence - gain_db, (made_up, silence)


@pytest.mark.parametrize("origin", [0, (1 << 32) - 20_000, 123_456])
def test_sound_is_put_where_its_timestamp_says(origin: int) -> None:
    click = np.zeros(3 * SAMPLE_RATE_HZ, np.int16)
    click[SAMPLE_RATE_HZ : SAMPLE_RATE_HZ + 9600] = tone(0.2)
    packets = packets_of(click, OpusSettings(24), sequence=65_530, timestamp=origin)
    track = SoundTrack()
    assert track.add(packets[0], 0.0) == []  # waits until the origin is known
    blocks = track.start(origin, 0.0)
    for packet in packets[1:30] + packets[35:]:
        blocks += track.add(packet, 10.0)
        blocks += track.take(11.0)
    sound = np.concatenate(blocks)
    assert len(sound) == len(packets) * 2_880
    loud = np.flatnonzero(np.abs(sound.astype(int)) > 2000)
    assert abs(loud[0] - SAMPLE_RATE_HZ - 312) < 480  # within 10 ms
    assert track.lost == 5
    assert np.abs(sound[30 * 2_880 : 34 * 2_880]).max() < 1_000


def test_packets_that_overtake_one_another_are_put_in_order() -> None:
    packets = packets_of(speech(), OpusSettings(12, 20))
    swapped = list(packets)
    for at in range(3, len(swapped) - 1, 4):
        swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    assert np.array_equal(track_of(swapped), track_of(packets))
    doubled = [packet for packet in packets for _ in range(2)]
    assert np.array_equal(track_of(doubled), track_of(packets))


def test_silence_that_was_not_sent_is_no_loss() -> None:
    sound = np.concatenate([speech()[:96_000], np.zeros(144_000, np.int16), speech()[:96_000]])
    packets = packets_of(sound, OpusSettings(16, 60, dtx=True))
    assert len(packets) < 0.8 * len(sound) / 2_880
    track = SoundTrack()
    blocks = track.start(0, 0.0)
    for number, packet in enumerate(packets):
        blocks += track.add(packet, number * 0.06)
    heard = np.concatenate(blocks)
    assert track.lost == 0
    assert abs(len(heard) - len(sound)) <= 2_880
    assert signal_to_noise(heard[: 96_000 - 312], np.roll(sound, 312)[: 96_000 - 312]) > 0
    assert np.abs(heard[130_000:230_000]).max() < 300


def test_a_gap_waits_for_its_packet_no_longer_than_is_of_use() -> None:
    packets = packets_of(tone(1.0), OpusSettings(12, 20))
    track = SoundTrack()
    track.start(0, 0.0)
    assert track.add(packets[0], 0.0)
    assert track.add(packets[2], 0.01) == []
    assert track.take(0.10) == []
    assert sum(map(len, track.take(0.14))) == 2 * 960
    assert track.lost == 1
    assert track.add(packets[1], 0.15) == []  # too late


def test_a_long_pause_is_kept_where_time_has_passed_and_not_believed_else() -> None:
    packets = packets_of(tone(1.0), OpusSettings(12, 20))
    later = [SoundPacket(p.sequence, p.timestamp + 3_600 * 48_000, p.data) for p in packets[10:]]
    for now, heard in ((3_600.0, 3_600.2 + 0.8), (1.0, 0.2)):
        track = SoundTrack()
        blocks = track.start(0, 0.0)
        for packet in packets[:10]:
            blocks += track.add(packet, 0.0)
        for packet in later:
            blocks += track.add(packet, now)
        assert sum(map(len, blocks)) / 48_000 == pytest.approx(heard)


def test_a_source_that_numbers_anew_is_followed() -> None:
    stream = SpeechStream()
    for sequence in (60_000, 60_001, 7, 8, 9):
        stream.put(SoundPacket(sequence, 960 * (sequence % 60_000), _packet()))
        assert stream.take() is not None
    assert stream.lost == 0


def _packet() -> bytes:
    return OpusEncoder(OpusSettings(packet_ms=20)).encode(tone(0.02))


@pytest.mark.parametrize("data", [b"", bytes(2_000), b"\xff", b"\x03\xff\xff"])
def test_hostile_packets_are_dropped(data: bytes) -> None:
    track = SoundTrack()
    track.start(0, 0.0)
    assert track.add(SoundPacket(0, 0, data), 0.0) == []
    good = packets_of(tone(1.0), OpusSettings(12), sequence=1)
    assert sum(len(block) for one in good for block in track.add(one, 1.0)) == 16 * 2_880


def test_noise_instead_of_packets_neither_raises_nor_grows() -> None:
    rng, track = np.random.default_rng(5), SoundTrack()
    track.start(0, 0.0)
    written = 0
    for number in range(2_000):
        data = rng.bytes(int(rng.integers(1, 80)))
        packet = SoundPacket(int(rng.integers(1 << 16)), int(rng.integers(1 << 32)), data)
        written += sum(map(len, track.add(packet, number * 0.001)))
    assert written < 60 * SAMPLE_RATE_HZ
    assert len(track._stream) <= 500


def test_damage_and_wrong_use_are_told_apart_from_speech() -> None:
    with pytest.raises(CodecError, match="has 1 to 1275 bytes"):
        OpusDecoder().decode(bytes(MAX_PACKET_BYTES + 1))
    with pytest.raises(CodecError, match="Opus: corrupted stream"):
        OpusDecoder().decode(b"\x03\xff\xff")
    with pytest.raises(CodecError, match="no packet of 2880"):
        OpusEncoder(OpusSettings()).encode(np.zeros(1_000, np.int16))
    with pytest.raises(CodecError, match="Opus: invalid argument"):
        OpusEncoder(OpusSettings(loss_percent=200))


def test_coders_are_freed_and_several_run_at_once() -> None:
    def work() -> None:
        packets = packets_of(tone(1.0), OpusSettings(12, 20))
        decoder = OpusDecoder()
        heard.append(sum(len(decoder.decode(packet.data)) for packet in packets))

    heard: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert heard == [48_000] * 4
