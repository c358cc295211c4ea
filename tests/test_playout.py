"""Packets to pictures to what is shown, in virtual time."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemino.call.av1_payload import packetize, parse
from gemino.call.jitter import CAPACITY, Packet, Picture, PictureBuffer, unwrap
from gemino.call.playout import Playout

FRAME_S = 1 / 30


def packets(
    count: int, pieces: int = 2, *, first: int = 0, picture_ids: bool = True
) -> list[Packet]:
    """`count` pictures of `pieces` packets each."""
    return [
        Packet(
            sequence=(first + number * pieces + piece) % (1 << 16),
            timestamp=(number * 3000) % (1 << 32),
            marker=piece == pieces - 1,
            start=piece == 0,
            picture_id=(first + number) % (1 << 15) if picture_ids else None,
            data=bytes([number % 251, piece]),
        )
        for number in range(count)
        for piece in range(pieces)
    ]


def feed(buffer: PictureBuffer, stream: list[Packet], now: float = 0.0) -> list[Picture]:
    shown = []
    for packet in stream:
        buffer.add(packet, now)
        shown += buffer.take(now)
    return shown


def numbers(pictures: list[Picture]) -> list[int]:
    return [picture.data[0] for picture in pictures]


@pytest.mark.parametrize("first", [0, 65_530, 32_760])
def test_a_picture_leaves_with_its_marker_and_not_with_the_next_packet(first: int) -> None:
    buffer = PictureBuffer()
    for number, packet in enumerate(packets(20, first=first)):
        buffer.add(packet, 0.0)
        assert len(buffer.take(0.0)) == number % 2
    assert buffer.nacks(0.0) == []


def test_a_missing_packet_holds_back_and_then_everything_leaves_at_once() -> None:
    buffer, stream = PictureBuffer(), packets(10)
    late = stream.pop(4)
    assert numbers(feed(buffer, stream)) == [0, 1]
    assert buffer.nacks(0.0) == [4]
    assert numbers(feed(buffer, [late], 0.1)) == list(range(2, 10))


def test_a_gap_is_asked_for_again_until_it_is_given_up() -> None:
    buffer, stream = PictureBuffer(give_up_s=0.3, retry_s=0.06), packets(10)
    del stream[4]
    feed(buffer, stream)
    asked, now = 0, 0.0
    shown: list[Picture] = []
    while not shown:
        asked += len(buffer.nacks(now))
        shown = buffer.take(now)
        now += 0.01
    assert 4 <= asked <= 6
    assert 0.3 <= now <= 0.33
    assert numbers(shown) == [3, 4, 5, 6, 7, 8, 9]
    assert [picture.index for picture in shown][:1] == [3]  # 2 is missing: the decoder can tell
    assert buffer.packets_lost == 1


def test_without_picture_ids_a_gap_still_shows_in_the_index() -> None:
    buffer, stream = PictureBuffer(), packets(4, picture_ids=False)
    del stream[2:4]
    indexes = [p.index for p in feed(buffer, stream)] + [p.index for p in buffer.take(1.0)]
    assert indexes == [0, 2, 3]


def av1_unit(number: int, sizes: tuple[int, ...]) -> bytes:
    """A temporal unit with a frame OBU of each of these sizes, below 128 bytes."""
    return b"\x12\x00" + b"".join(bytes([0x32, size]) + bytes([number]) * size for size in sizes)


def av1_packets(count: int, sizes: tuple[int, ...], max_bytes: int) -> list[Packet]:
    """`count` pictures, as `payload` makes packets of what arrives."""
    cut = [packetize(av1_unit(number, sizes), max_bytes) for number in range(count)]
    stream = [
        (number, payload, payload is payloads[-1])
        for number, payloads in enumerate(cut)
        for payload in payloads
    ]
    return [
        Packet(
            sequence=65_530 + sequence & 0xFFFF,
            timestamp=number * 3000,
            marker=marker,
            start=not parse(payload).continues,
            picture_id=None,
            data=payload,
            codec="av1",
        )
        for sequence, (number, payload, marker) in enumerate(stream)
    ]


def test_av1_pictures_of_one_and_of_many_packets_come_out_whole() -> None:
    for sizes, max_bytes in [((40,), 1200), ((100,), 30), ((5, 100, 7), 40), ((9, 9, 9), 12)]:
        shown = feed(PictureBuffer(), av1_packets(8, sizes, max_bytes))
        assert [picture.data for picture in shown] == [av1_unit(n, sizes) for n in range(8)]
        assert [picture.index for picture in shown] == list(range(8))
        assert {picture.codec for picture in shown} == {"av1"}


@pytest.mark.parametrize("lost", range(4, 8))
def test_a_lost_av1_packet_is_asked_for_and_else_shows_in_the_index(lost: int) -> None:
    """Four packets a picture; each begins with a whole OBU, as a picture's first does."""
    stream = av1_packets(5, (9, 9, 9, 9), 13)
    assert len(stream) == 20
    assert all(packet.start for packet in stream)
    missing = stream.pop(lost)
    buffer = PictureBuffer()
    assert [picture.index for picture in feed(buffer, stream)] == [0]
    assert buffer.nacks(0.0) == [missing.sequence]
    shown = buffer.take(1.0)
    # The rest of the damaged picture may pass for one: the decoder knows that one is missing.
    whole = [picture for picture in shown if picture.data == av1_unit(picture.data[4], (9,) * 4)]
    assert [picture.data[4] for picture in whole] == [2, 3, 4]
    assert shown[0].index >= 2
    assert len(shown) == (3 if lost == 7 else 4)
    assert buffer.packets_lost == 1

    buffer = PictureBuffer()
    feed(buffer, stream)
    repaired = feed(buffer, [missing], 0.1)
    assert [picture.index for picture in repaired] == [1, 2, 3, 4]


def test_av1_packets_that_do_not_fit_together_are_one_lost_picture() -> None:
    stream = av1_packets(3, (100,), 60)
    wrong = stream[3]
    stream[3] = replace(wrong, data=bytes([wrong.data[0] ^ 0x40]) + wrong.data[1:])
    shown = feed(PictureBuffer(), stream)
    assert [picture.index for picture in shown] == [0, 2]
    assert [picture.data for picture in shown] == [av1_unit(0, (100,)), av1_unit(2, (100,))]


def test_a_jump_of_the_sequence_shows_in_the_index() -> None:
    stream = av1_packets(2, (9,), 60)
    stream[1] = replace(stream[1], sequence=(stream[1].sequence + CAPACITY) % (1 << 16))
    assert [picture.index for picture in feed(PictureBuffer(), stream)] == [0, 2]


def test_duplicates_and_packets_that_come_too_late_are_dropped() -> None:
    buffer, stream = PictureBuffer(), packets(5)
    assert len(feed(buffer, [*stream, *stream])) == 5


def test_the_first_two_packets_may_swap() -> None:
    buffer, stream = PictureBuffer(), packets(3)
    stream[0], stream[1] = stream[1], stream[0]
    assert numbers(feed(buffer, stream)) == [0, 1, 2]


def test_a_jump_of_the_sequence_starts_afresh_and_memory_stays_bounded() -> None:
    buffer = PictureBuffer()
    rng = random.Random(1)
    for _ in range(5_000):
        buffer.add(Packet(rng.randrange(1 << 16), 0, False, False, None, b"x"), 0.0)
        buffer.take(0.0)
    assert len(buffer._packets) <= 2 * CAPACITY
    assert len(buffer._gaps) <= 2 * CAPACITY


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), loss=st.floats(0, 0.3), first=st.integers(0, 65_535))
def test_loss_with_retransmission_and_reordering_loses_nothing(
    seed: int, loss: float, first: int
) -> None:
    """NACKs are answered after 30 ms, unless the answer is lost too; all pictures come in order."""
    rng = random.Random(seed)
    stream = packets(40, first=first)
    by_sequence = {packet.sequence: packet for packet in stream}
    events = [(number * 0.016, packet) for number, packet in enumerate(stream)]
    # The first and last picture arrive: what is lost before or after cannot be noticed here.
    events = [e for e in events if e[1] in stream[:2] + stream[-2:] or rng.random() >= loss]
    events = [(at + rng.random() * 0.02 * (n > 0), packet) for n, (at, packet) in enumerate(events)]
    buffer, shown, now = PictureBuffer(give_up_s=5.0), [], 0.0
    while now < 4.0:
        for event in [e for e in events if e[0] <= now]:
            events.remove(event)
            buffer.add(event[1], now)
        shown += buffer.take(now)
        for sequence in buffer.nacks(now):
            if rng.random() >= loss:
                events.append((now + 0.03, by_sequence[sequence]))
        now += 0.01
    assert numbers(shown) == list(range(40))
    indexes = [picture.index for picture in shown]
    assert indexes == list(range(indexes[0], indexes[0] + 40))


def test_unwrap_takes_the_nearest() -> None:
    assert unwrap(1, 65_535, 1 << 16) == 65_537
    assert unwrap(65_535, 65_537, 1 << 16) == 65_535


def picture(number: int, arrived_at: float) -> Picture:
    return Picture(number, number * 3000 % (1 << 32), b"x", arrived_at)


def test_pictures_on_time_are_shown_one_by_one_though_they_arrive_in_a_burst() -> None:
    playout = Playout(max_late_s=0.1)
    playout.push(picture(0, 0.0))
    assert len(playout.take(0.0)) == 1
    for number in (1, 2, 3):
        playout.push(picture(number, 0.1))
    assert [len(playout.take(0.1 + n * 0.01)) for n in range(4)] == [1, 1, 1, 0]
    assert playout.skipped == 0


def test_the_newest_wins_when_the_worker_is_behind() -> None:
    playout = Playout(max_late_s=0.1)
    for number in range(30):
        playout.push(picture(number, number * FRAME_S))
    batch = playout.take(1.0)
    late_s = 1.0 - batch[-1].media_time_s
    assert late_s <= 0.1
    assert [due.picture.index for due in batch] == list(range(len(batch)))  # all are decoded
    assert playout.skipped == len(batch) - 1


@pytest.mark.parametrize("work_s", [0.01, 0.033, 0.05, 0.2])
def test_delay_does_not_grow_however_slow_the_worker_is(work_s: float) -> None:
    playout, delays, number, now = Playout(max_late_s=0.1), [], 0, 0.0
    while now < 20.0:
        while number * FRAME_S <= now:
            playout.push(picture(number, number * FRAME_S))
            number += 1
        batch = playout.take(now)
        now += work_s if batch else 0.002
        if batch:
            delays.append(now - batch[-1].media_time_s)
    assert max(delays[len(delays) // 2 :]) <= 0.1 + work_s + 2 * FRAME_S
    if work_s < FRAME_S:
        assert playout.skipped == 0


def test_a_stalled_worker_costs_bounded_memory() -> None:
    playout = Playout(capacity=90)
    for number in range(1_000):
        playout.push(picture(number, number * FRAME_S))
    assert len(playout) == 90
    assert playout.overflowed == 910


def test_a_timestamp_that_wraps_does_not_stop_the_clock() -> None:
    playout, near = Playout(), (1 << 32) - 3000
    playout.push(Picture(0, near, b"x", 0.0))
    playout.push(Picture(1, 0, b"x", FRAME_S))
    (_,), (second,) = playout.take(0.0), playout.take(FRAME_S)
    assert second.media_time_s == pytest.approx(FRAME_S)
