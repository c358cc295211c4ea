"""Live playout in virtual time: uneven packets, clocks that drift, losses, pauses, stalls."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gemino.call.audio import SoundPacket, SpeechStream
from gemino.call.opus import SAMPLE_RATE_HZ, OpusSettings, Samples
from gemino.call.resampler import Resampler
from gemino.call.sound_playout import MAX_DELAY_S, MIN_DELAY_S, ArrivalTimes, SoundPlayout
from speech import log_spectral_distance, packets_of, speech, tone

BLOCK = 960
NETWORK_S = 0.05
Transit = Callable[[float], float | None]
"""Seconds on the way of a packet sent then, None where it is lost."""


@dataclass
class Played:
    sound: Samples
    delay_s: NDArray[np.float64]
    target_s: NDArray[np.float64]
    playout: SoundPlayout


def stream(packets: list[SoundPacket], length: int, seconds: float) -> Iterator[SoundPacket]:
    """`packets`, which fill `length` samples, again and again."""
    number = 0
    while number // len(packets) * length < seconds * SAMPLE_RATE_HZ:
        turn, at = divmod(number, len(packets))
        timestamp = packets[at].timestamp + turn * length
        yield SoundPacket(number % 65_536, timestamp % (1 << 32), packets[at].data)
        number += 1


def played(
    packets: list[SoundPacket],
    seconds: float,
    transit: Transit,
    *,
    ppm: float = 0.0,
    packet_ms: int = 60,
    length: int | None = None,
    block: int = BLOCK,
) -> Played:
    """What a loudspeaker plays in `seconds`; ppm: how much faster the sender's clock is."""
    arrivals = []
    sent_s, last = 0.0, None
    for packet in stream(packets, length, seconds) if length else packets:
        step = 0 if last is None else (packet.timestamp - last) % (1 << 32)
        last = packet.timestamp
        sent_s += step / SAMPLE_RATE_HZ / (1 + ppm * 1e-6)
        way_s = transit(sent_s)
        if way_s is not None:
            arrivals.append((sent_s + packet_ms / 1000 + way_s, packet))
    arrivals.sort(key=lambda one: one[0])
    playout, at = SoundPlayout(), 0
    blocks: list[Samples] = []
    delays: list[float] = []
    targets: list[float] = []
    for number in range(round(seconds * SAMPLE_RATE_HZ / block)):
        now = number * block / SAMPLE_RATE_HZ
        while at < len(arrivals) and arrivals[at][0] <= now:
            playout.push(arrivals[at][1], arrivals[at][0])
            at += 1
        blocks.append(playout.pull(block, now))
        delays.append(playout.delay_s)
        targets.append(playout.target_s)
    return Played(np.concatenate(blocks), np.array(delays), np.array(targets), playout)


def even(_sent_s: float) -> float:
    return NETWORK_S


def test_on_an_even_network_every_sample_is_played_as_it_was_decoded() -> None:
    packets = packets_of(tone(3.0), OpusSettings(16))
    decoder = SpeechStream()
    blocks: list[Samples] = []
    for packet in packets:
        decoder.put(packet)
        taken = decoder.take()
        assert taken is not None
        blocks.append(taken.samples)
    meant = np.concatenate(blocks)
    heard = played(packets, 3.0, even)
    # 60 ms until the packet is whole, 50 on the way, and what is guessed of the jitter at first.
    start = round((0.06 + NETWORK_S + heard.target_s[0]) * SAMPLE_RATE_HZ)
    guessed = 8 * 2_880
    assert np.array_equal(heard.sound[start : start + guessed], meant[:guessed])
    assert heard.playout.made_up == 0
    assert MIN_DELAY_S < heard.delay_s[-1] < heard.target_s[0] - 0.01


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ppm", [200, -200])
def test_half_an_hour_of_two_clocks_apart_changes_no_delay(ppm: float) -> None:
    """0.36 s would have gathered, or been missing."""
    rng = np.random.default_rng(3)
    packets = packets_of(speech(), OpusSettings(6, 60, dtx=True))
    length = len(speech()) // 2_880 * 2_880
    heard = played(
        packets,
        1_800.0,
        lambda _: NETWORK_S + rng.exponential(0.004),
        ppm=ppm,
        length=length,
        block=2_880,
    )
    later = slice(200, None)
    off_s = heard.delay_s[later] - heard.target_s[later]
    assert abs(float(np.median(off_s))) < 0.008
    assert np.percentile(np.abs(off_s), 99) < 0.04
    assert np.percentile(heard.delay_s[later], 99) < MAX_DELAY_S
    assert heard.playout.lost + heard.playout.late < 0.01 * 1_800 / 0.06


@pytest.mark.parametrize("jitter_s", [0.0, 0.01, 0.03, 0.08])
def test_the_delay_follows_the_jitter_within_its_bounds(jitter_s: float) -> None:
    rng = np.random.default_rng(4)
    packets = packets_of(speech(), OpusSettings(12, 20))
    length = len(speech()) // 960 * 960
    way = (lambda _: NETWORK_S + rng.uniform(0, jitter_s)) if jitter_s else even
    heard = played(packets, 40.0, way, packet_ms=20, length=length)
    settled = heard.delay_s[1_000:]
    wanted = min(max(jitter_s + 0.03, MIN_DELAY_S), MAX_DELAY_S)
    assert float(np.median(settled)) == pytest.approx(wanted, abs=0.02)
    assert settled.max() < MAX_DELAY_S + 0.1
    assert heard.playout.late <= 0.06 * 2_000


def test_a_stall_of_the_network_is_caught_up_with() -> None:
    packets = packets_of(speech(), OpusSettings(6))
    length = len(speech()) // 2_880 * 2_880

    def stalls(sent_s: float) -> float:
        return NETWORK_S + max(0.0, 7.0 - sent_s if 6.0 < sent_s < 7.0 else 0.0)

    heard = played(packets, 30.0, stalls, length=length)
    during, after = heard.delay_s[330:345], heard.delay_s[-200:]
    assert np.isfinite(during).all()
    assert float(np.median(after)) < 0.1
    assert heard.delay_s[400:].max() < 0.6


def test_losses_are_made_up_for_and_cost_no_delay() -> None:
    rng = np.random.default_rng(5)
    fec = OpusSettings(24, 60, fec=True, loss_percent=20)
    packets = packets_of(speech(), fec)
    meant = played(packets, 9.5, even)
    heard = played(packets, 9.5, lambda _: None if rng.random() < 0.1 else NETWORK_S)
    assert heard.playout.lost > 5
    assert float(np.median(heard.delay_s[300:])) < 0.12
    silent = meant.sound.copy()
    silent[:] = 0
    assert log_spectral_distance(heard.sound, meant.sound) < 0.5 * log_spectral_distance(
        silent, meant.sound
    )


@pytest.mark.parametrize("packet_ms", [20, 60])
def test_copies_of_lost_packets_come_in_time(packet_ms: int) -> None:
    rng = np.random.default_rng(6)
    fec = OpusSettings(24, packet_ms, fec=True, loss_percent=20)
    packets = packets_of(speech(), fec)
    length = len(speech()) // (packet_ms * 48) * packet_ms * 48

    def lossy(sent_s: float) -> float | None:
        return None if rng.random() < 0.1 and sent_s < 40 else NETWORK_S + rng.uniform(0, 0.01)

    heard = played(packets, 60.0, lossy, packet_ms=packet_ms, length=length)
    assert heard.playout.recovered > 0.5 * heard.playout.lost > 10
    longer = float(np.median(heard.target_s[1_000:1_900]) - np.median(heard.target_s[-300:]))
    assert longer == pytest.approx(packet_ms / 1000, abs=0.015)


def test_silence_that_is_not_sent_leaves_what_follows_in_time() -> None:
    sound = np.concatenate([tone(1.0), np.zeros(3 * SAMPLE_RATE_HZ, np.int16), tone(1.0)])
    packets = packets_of(sound, OpusSettings(16, 20, dtx=True))
    assert len(packets) < 150
    heard = played(packets, 6.0, even, packet_ms=20)
    loud = np.flatnonzero(np.abs(heard.sound.astype(int)) > 3_000)
    gap = int(np.diff(loud).max())
    assert gap / SAMPLE_RATE_HZ == pytest.approx(3.0, abs=0.03)
    assert heard.playout.lost == 0


def test_a_flood_of_packets_costs_no_more_than_a_stream() -> None:
    arrivals = ArrivalTimes()
    for number in range(5_000):  # of 2.5 ms, a thousand a second
        arrivals.add(number * 120, number / 1000)
    assert len(arrivals) == 1_000
    assert arrivals.needed_s() > 0


def test_who_pauses_for_long_is_heard_again() -> None:
    packets = packets_of(tone(4.0), OpusSettings(16, 20))
    resumed = [
        SoundPacket(p.sequence, p.timestamp + 60 * SAMPLE_RATE_HZ, p.data) for p in packets[100:]
    ]
    heard = played(packets[:100] + resumed, 64.5, even, packet_ms=20)
    loud = np.flatnonzero(np.abs(heard.sound.astype(int)) > 3_000)
    assert np.diff(loud).max() / SAMPLE_RATE_HZ == pytest.approx(60.0, abs=0.1)
    assert not np.any(heard.sound[4 * SAMPLE_RATE_HZ : 60 * SAMPLE_RATE_HZ])
    assert heard.delay_s[-100:].max() < 0.1


def test_lip_sync_can_hold_sound_back() -> None:
    packets = packets_of(speech(), OpusSettings(6))
    playout, at = SoundPlayout(), 0
    for number in range(450):
        now = number * 0.02
        playout.hold_back_s = 0.25
        while at < len(packets) and at * 0.06 + 0.06 + NETWORK_S <= now:
            playout.push(packets[at], at * 0.06 + 0.06 + NETWORK_S)
            at += 1
        playout.pull(BLOCK, now)
    assert playout.delay_s == pytest.approx(0.25, abs=0.012)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, (1 << 32) - 1))), st.data())
def test_no_packet_breaks_the_playout(heads: list[tuple[int, int]], data: st.DataObject) -> None:
    good = packets_of(tone(0.5), OpusSettings(8, 20))
    playout, now = SoundPlayout(), 0.0
    for sequence, timestamp in heads:
        payload = data.draw(st.sampled_from([one.data for one in good[:3]] + [b"\xff" * 9]))
        playout.push(SoundPacket(sequence, timestamp, payload), now)
        assert len(playout.pull(BLOCK, now)) == BLOCK
        now += 0.02
    for number, packet in enumerate(good):
        playout.push(SoundPacket(number, number * 960, packet.data), now)
        assert len(playout.pull(480, now)) == 480
        now += 0.02


def test_the_resampler_passes_through_and_reads_faster_without_a_seam() -> None:
    queue, sound = Resampler(), tone(1.0, 1_000)
    for at in range(0, len(sound), 480):
        queue.put(sound[at : at + 480])
    assert np.array_equal(queue.take(9_600), sound[:9_600])
    faster = np.concatenate([queue.take(480, 1.01) for _ in range(60)])
    time_s = np.arange(len(faster)) * 1.01 / SAMPLE_RATE_HZ
    meant = 8_000 * np.sin(2 * np.pi * 1_000 * (time_s + 0.2))
    assert np.abs(faster - meant).max() < 30
    queue.drop(480)
    assert len(queue) == pytest.approx(48_000 - 9_600 - 28_800 * 1.01 - 480, abs=4)
    queue.drop(-5)
    assert not queue.take(20_000)[-5_000:].any()  # where it ends there is silence
