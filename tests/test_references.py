"""References over messages: they arrive whole, in order, and only once."""

import hashlib
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemino.call.references import (
    _BURST_BYTES,
    GALLERY,
    WINDOW_BYTES,
    ReferenceReceiver,
    ReferenceSender,
    Wish,
)
from gemino.errors import WireError
from gemino.wire import (
    MAX_CHUNK_BYTES,
    Message,
    ReferenceAck,
    ReferenceChunk,
    ReferenceHave,
    ReferenceOffer,
    parse,
)


def picture(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def carry(message: Message) -> Message:
    """Across the wire, as bytes."""
    return parse(message.serialize())


def deliver(receiver: ReferenceReceiver, message: Message) -> list[Message]:
    received = carry(message)
    assert isinstance(received, ReferenceOffer | ReferenceChunk)
    return receiver.receive(received)


def answer(sender: ReferenceSender, message: Message) -> None:
    received = carry(message)
    assert isinstance(received, ReferenceAck | ReferenceHave)
    sender.receive(received)


def run(sender: ReferenceSender, receiver: ReferenceReceiver, until_s: float = 60.0) -> float:
    """Both ends joined by a perfect channel, in virtual time; returns when the sender was idle."""
    now = 0.0
    while now < until_s:
        for message in sender.messages(now):
            for reply in deliver(receiver, message):
                answer(sender, reply)
        if sender.idle:
            return now
        now += 0.02
    raise AssertionError(f"not across after {until_s} s: {sender!r}, {receiver!r}")


@pytest.mark.parametrize("size", [1, MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1, 10_000, 100_000])
def test_a_reference_arrives_whole(size: int) -> None:
    sender, receiver = ReferenceSender(1000), ReferenceReceiver(1 << 20)
    sender.send(picture(size))
    run(sender, receiver)
    assert receiver.take() == picture(size)
    assert receiver.take() is None
    assert sender.bytes_sent == receiver.bytes_received == size
    assert sender.acknowledged == 1


@pytest.mark.parametrize("pace_kbps", [20.0, 120.0])
def test_chunks_leave_no_faster_than_the_pace(pace_kbps: float) -> None:
    sender, receiver = ReferenceSender(pace_kbps), ReferenceReceiver(1 << 20)
    sender.send(picture(12_000))
    taken_s = run(sender, receiver)
    assert taken_s >= (12_000 - _BURST_BYTES) * 8 / 1000 / pace_kbps - 0.02
    assert taken_s <= 12_000 * 8 / 1000 / pace_kbps + 0.5


def test_no_more_than_a_window_is_unacknowledged() -> None:
    sender = ReferenceSender(1e9)
    sender.send(picture(100_000))
    for step in range(100):
        sender.messages(step * 1.0)
    assert WINDOW_BYTES - MAX_CHUNK_BYTES < sender.bytes_sent < WINDOW_BYTES + MAX_CHUNK_BYTES


def test_references_cross_one_after_another_and_few_wait() -> None:
    sender, receiver = ReferenceSender(100), ReferenceReceiver(1 << 20)
    for seed in range(5):
        sender.send(picture(5_000, seed))
    run(sender, receiver)
    arrived = []
    while (data := receiver.take()) is not None:
        arrived.append(data)
    assert arrived == [picture(5_000, seed) for seed in (0, 3, 4)]


def test_a_late_chunk_of_a_superseded_reference_is_ignored() -> None:
    receiver = ReferenceReceiver(1 << 20)
    old, new = picture(3_000, 1), picture(900, 2)
    for data in (old, new):
        receiver.receive(ReferenceOffer(hashlib.sha256(data).digest(), len(data)))
    assert receiver.receive(ReferenceChunk(hashlib.sha256(old).digest()[:4], 0, old[:100])) == []
    (ack,) = receiver.receive(ReferenceChunk(hashlib.sha256(new).digest()[:4], 0, new))
    assert ack == ReferenceAck(hashlib.sha256(new).digest()[:4], len(new), complete=True)


def test_a_reference_that_is_held_is_not_sent_again() -> None:
    sender, receiver = ReferenceSender(1000), ReferenceReceiver(1 << 20)
    for seed in (1, 2):
        sender.send(picture(5_000, seed))
        run(sender, receiver)
    sender.send(picture(5_000, 1))
    run(sender, receiver)
    assert receiver.take() == picture(5_000, 1)
    assert sender.bytes_sent == 10_000


def test_the_gallery_is_bounded() -> None:
    sender, receiver = ReferenceSender(10_000), ReferenceReceiver(1 << 20)
    for seed in [*range(GALLERY + 1), 0]:
        sender.send(picture(2_000, seed))
        run(sender, receiver)
    assert sender.bytes_sent == (GALLERY + 2) * 2_000  # the first had been forgotten


@given(order=st.permutations(range(6)), again=st.lists(st.integers(0, 5), max_size=6))
def test_the_order_of_chunks_does_not_matter(order: list[int], again: list[int]) -> None:
    data = picture(5 * 1_000 + 7)
    digest = hashlib.sha256(data).digest()
    receiver = ReferenceReceiver(1 << 20)
    receiver.receive(ReferenceOffer(digest, len(data)))
    pieces = [(at, data[at : at + 1_000]) for at in range(0, len(data), 1_000)]
    for number in [*order[:3], *again, *order]:
        at, piece = pieces[number]
        receiver.receive(ReferenceChunk(digest[:4], at, piece))
    assert receiver.take() == data


def test_a_wrong_hash_is_refused_and_forgotten() -> None:
    receiver = ReferenceReceiver(1 << 20)
    receiver.receive(ReferenceOffer(bytes(32), 10))
    with pytest.raises(WireError, match="hash"):
        receiver.receive(ReferenceChunk(bytes(4), 0, b"0123456789"))
    assert receiver.take() is None
    assert receiver.receive(ReferenceChunk(bytes(4), 0, b"0123456789")) == []


def test_a_reference_that_is_too_large_is_refused_before_memory_is_taken() -> None:
    receiver = ReferenceReceiver(20_000)
    with pytest.raises(WireError, match="total_bytes is 20001: we take 20000"):
        receiver.receive(ReferenceOffer(bytes(32), 20_001))


def test_a_chunk_outside_its_reference_is_refused() -> None:
    receiver = ReferenceReceiver(1 << 20)
    receiver.receive(ReferenceOffer(bytes(32), 10))
    with pytest.raises(WireError, match="ends at 11: only 10"):
        receiver.receive(ReferenceChunk(bytes(4), 5, b"012345"))


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    sender = ReferenceSender(100)
    sender.send(picture(10_000))
    (offer, *chunks) = sender.messages(0.0)
    assert isinstance(offer, ReferenceOffer)
    sent = sum(len(chunk.data) for chunk in chunks if isinstance(chunk, ReferenceChunk))
    with pytest.raises(WireError, match="only"):
        sender.receive(ReferenceAck(offer.reference_id, sent + 1))
    sender.receive(ReferenceAck(b"else", 10_000, complete=True))  # of another: ignored
    assert not sender.idle


def test_a_wish_waits_for_the_sender_and_is_not_repeated_soon() -> None:
    wish, asked = Wish(), []
    for tenth in range(300):
        lacking = not 10 <= tenth < 20  # for a second a reference fitted
        if wish.due(lacking, tenth / 10):
            asked.append(tenth / 10)
    assert asked == [4.5, 14.5, 24.5]


def longest_queue_s(link_kbps: float, pace_kbps: float) -> tuple[float, float]:
    """Three references beside a stream of 15 kbps, over a link with a queue and 25 ms each way.

    How long the queue became, after the first reference is through, and how long all of it took.
    """
    sender, receiver = ReferenceSender(pace_kbps), ReferenceReceiver(100_000)
    under_way: deque[tuple[float, Message]] = deque()
    answers: deque[tuple[float, Message]] = deque()
    free_at = longest_s = 0.0
    for seed, size in enumerate((4_700, 12_000, 12_000)):
        sender.send(picture(size, seed))
    for tick in range(6000):
        now = tick / 100
        free_at = max(free_at, now) + 15 * 0.01 / link_kbps
        while answers and answers[0][0] <= now:
            sender.receive(answers.popleft()[1])  # type: ignore[arg-type]  # nothing else is said
        for message in sender.messages(now):
            free_at += len(message.serialize()) * 8 / 1000 / link_kbps
            under_way.append((free_at + 0.025, message))
        if sender.acknowledged:
            longest_s = max(longest_s, free_at - now)
        while under_way and under_way[0][0] <= now:
            arrived_s, message = under_way.popleft()
            answers += [(arrived_s + 0.025, answer) for answer in deliver(receiver, message)]
        if sender.idle:
            return longest_s, now
    raise AssertionError("never arrived")


def test_references_ease_off_where_they_hold_up_the_stream() -> None:
    queue_s, took_s = longest_queue_s(link_kbps=60.0, pace_kbps=120.0)
    assert queue_s < 0.6  # at full pace 1.4
    assert took_s < 12.0


def test_where_there_is_room_references_keep_their_pace() -> None:
    queue_s, took_s = longest_queue_s(link_kbps=1000.0, pace_kbps=120.0)
    assert queue_s < 0.05
    assert took_s < 1.1 * (28_700 * 8 / 1000 / 120 + 3 * 0.05)
