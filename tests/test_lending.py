"""Adapters that are lent over a call: whole, late, cut off, kept, and hostile ones."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemino.adapters import Size, to_bytes
from gemino.call.incoming import Incoming
from gemino.call.lending import ADAPTER, PART, AdapterReceiver, AdapterSender, GalleryShelf
from gemino.call.options import MediaOptions, PeerOptions
from gemino.errors import WireError
from gemino.gallery import Gallery
from gemino.wire import MAX_CHUNK_BYTES, AdapterAnswer, AdapterChunk, AdapterOffer, Message, parse
from tiny_model import write_tiny_model

BASE = "ab" * 32
TICK_S = 0.02


def adapter(values: int = 8_000, base_sha256: str = BASE, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    tensors = {
        "generator.a.up": rng.normal(size=(8, 2)).astype(np.float32),
        "generator.a.down": rng.normal(size=(2, values, 1, 1)).astype(np.float32),
    }
    return to_bytes("ann", "tiny", base_sha256, tensors, np.eye(2, 128), {Size(512, 128)})


def shelf(folder: Path) -> tuple[Gallery, GalleryShelf]:
    gallery = Gallery(folder / "gallery", folder / "key", kinds=(ADAPTER, PART))
    return gallery, GalleryShelf(gallery)


def lend(sender: AdapterSender, receiver: AdapterReceiver, seconds: float) -> list[Message]:
    """All that crosses meanwhile, each message through its bytes."""
    said: list[Message] = []
    for tick in range(round(seconds / TICK_S)):
        for message in sender.messages(tick * TICK_S, idle=True):
            said.append(message)
            back = parse(message.serialize())
            assert isinstance(back, AdapterOffer | AdapterChunk)
            for answer in receiver.receive(back):
                said.append(answer)
                told = parse(answer.serialize())
                assert isinstance(told, AdapterAnswer)
                sender.receive(told)
    return said


def test_an_adapter_crosses_in_idle_bits_and_no_faster() -> None:
    data = adapter()
    sender, receiver = AdapterSender(data, 8.0), AdapterReceiver(BASE)
    lend(sender, receiver, 10.0)
    assert receiver.take() is None
    assert 8_000 < receiver.bytes_received <= 10_000 + 2 * MAX_CHUNK_BYTES
    sender, receiver = AdapterSender(data, 8.0), AdapterReceiver(BASE)
    lend(sender, receiver, len(data) / 1000 + 2)
    taken = receiver.take()
    assert taken is not None
    assert (taken[0].name, taken[1]) == ("ann", data)
    assert receiver.take() is None
    assert sender.bytes_sent == len(data)


def test_references_go_first_and_nothing_is_made_up_for() -> None:
    sender, receiver = AdapterSender(adapter(), 8.0), AdapterReceiver(BASE)
    assert sender.messages(0.0, idle=False) == []
    (offer,) = sender.messages(0.1, idle=True)
    assert isinstance(offer, AdapterOffer)
    (answer,) = receiver.receive(offer)
    assert isinstance(answer, AdapterAnswer)
    sender.receive(answer)
    assert sender.messages(5.0, idle=False) == []
    assert sender.messages(5.1, idle=True) == []
    assert sender.messages(6.0, idle=True) == []
    assert len(sender.messages(6.3, idle=True)) == 1


def test_what_was_cut_off_goes_on_in_the_next_call(tmp_path: Path) -> None:
    data = adapter()
    gallery, kept = shelf(tmp_path)
    first, second = AdapterReceiver(BASE, kept), AdapterReceiver(BASE, kept)
    lend(AdapterSender(data, 16.0), first, 5.0)
    first.close()
    assert [item.kind for item in gallery.items()] == [PART]
    sender = AdapterSender(data, 16.0)
    lend(sender, second, 20.0)
    taken = second.take()
    assert taken is not None
    assert taken[1] == data
    assert sender.bytes_sent + first.bytes_received == len(data)
    second.close()
    assert gallery.items() == []  # not before it has proved to fit the network
    second.keep(data)
    assert [item.kind for item in gallery.items()] == [ADAPTER]
    third = AdapterReceiver(BASE, kept)
    said = lend(AdapterSender(data, 16.0), third, 1.0)
    assert said[1:] == [AdapterAnswer(len(data), wanted=False)]
    assert third.take() is not None
    (item,) = gallery.items()
    gallery.forget(item)  # as `gemino gallery forget` does
    said = lend(AdapterSender(data, 16.0), AdapterReceiver(BASE, kept), 0.1)
    assert said[1] == AdapterAnswer(0, wanted=True)


def test_a_call_that_ends_early_keeps_what_came_for_the_next(tmp_path: Path) -> None:
    model = tmp_path / "model"
    base = write_tiny_model(model).sha256
    data = adapter(base_sha256=base)
    gallery, _ = shelf(tmp_path)
    media = MediaOptions(size_px=256, model=str(model), runtime="classical")
    options = PeerOptions("room", "", media, output=tmp_path / "shown.mp4", gallery=gallery)
    offer = AdapterOffer(hashlib.sha256(data).digest(), bytes.fromhex(base), len(data))
    for already in (0, 1_000):
        incoming = Incoming(options)
        assert incoming.receive(offer) == [AdapterAnswer(already, wanted=True)]
        incoming.receive(AdapterChunk(already, data[already : already + 1_000]))
        incoming.close()
        (item,) = gallery.items()
        assert (item.kind, item.size_bytes) == (PART, 32 + already + 1_000)


def test_an_adapter_for_other_weights_is_not_sent() -> None:
    sender, receiver = AdapterSender(adapter(), 100.0), AdapterReceiver("cd" * 32)
    said = lend(sender, receiver, 1.0)
    assert said[1:] == [AdapterAnswer(0, wanted=False)]
    assert sender.bytes_sent == 0


def offered(data: bytes) -> AdapterOffer:
    return AdapterOffer(hashlib.sha256(data).digest(), bytes.fromhex(BASE), len(data))


def forged(change: Callable[[dict[str, dict[str, object]]], None]) -> bytes:
    """A good adapter with another header."""
    data = adapter(values=20)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    words = json.dumps(header).encode()
    return len(words).to_bytes(8, "little") + words + data[8 + length :]


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\x04\x95pickle",
        b"\xff" * 900,
        adapter(values=20)[:-1],
        adapter(values=20) + b"\0",
        adapter(values=20, base_sha256="cd" * 32),
        forged(lambda header: header["__metadata__"].update(name="../../x")),
        forged(lambda header: header["__metadata__"].update(serves="")),
        forged(lambda header: header["generator.a.up"].update(shape=[1 << 40, 2])),
        forged(lambda header: header["generator.a.up"].update(dtype="F64")),
        forged(lambda header: header.update({"os.system.up": header.pop("likeness")})),
    ],
)
def test_what_is_no_adapter_is_refused_and_not_kept(hostile: bytes, tmp_path: Path) -> None:
    gallery, kept = shelf(tmp_path)
    receiver = AdapterReceiver(BASE, kept)
    receiver.receive(offered(hostile))
    with pytest.raises(WireError, match="are not the adapter that was offered"):
        receiver.receive(AdapterChunk(0, hostile))
    assert receiver.take() is None
    receiver.close()
    assert gallery.items() == []


def test_bytes_of_another_hash_are_refused() -> None:
    receiver = AdapterReceiver(BASE)
    receiver.receive(offered(adapter(values=20)))
    with pytest.raises(WireError, match="not the adapter"):
        receiver.receive(AdapterChunk(0, adapter(values=20, seed=1)))


def test_a_peer_cannot_make_us_hold_more_than_one_adapter() -> None:
    receiver = AdapterReceiver(BASE)
    receiver.receive(offered(adapter()))
    with pytest.raises(WireError, match="comes twice"):
        receiver.receive(offered(adapter()))
    receiver.receive(AdapterChunk(0, b"12"))
    for chunk in (AdapterChunk(1, b"x"), AdapterChunk(499_999, b"x")):
        again = AdapterReceiver(BASE)
        again.receive(offered(adapter()))
        with pytest.raises(WireError, match="offset is"):
            again.receive(chunk)
        assert again.receive(AdapterChunk(0, b"x")) == []  # given up: nothing of it is taken


def test_answers_to_what_was_not_sent_are_refused() -> None:
    sender = AdapterSender(adapter(), 8.0)
    with pytest.raises(WireError, match="received_bytes is 0: 0 were sent"):
        sender.receive(AdapterAnswer(0, wanted=True))
    sender.messages(0.0, idle=True)
    with pytest.raises(WireError, match="received_bytes is 500000"):
        sender.receive(AdapterAnswer(500_000, wanted=True))
    sender.receive(AdapterAnswer(100, wanted=True))
    with pytest.raises(WireError, match="received_bytes is 99"):
        sender.receive(AdapterAnswer(99, wanted=True))
    sender.receive(AdapterAnswer(100, wanted=False))
    assert sender.messages(100.0, idle=True) == []


@given(st.lists(st.tuples(st.integers(0, 4_000), st.binary(min_size=1, max_size=600)), max_size=8))
def test_no_pieces_do_worse_than_being_refused(pieces: list[tuple[int, bytes]]) -> None:
    receiver = AdapterReceiver(BASE)
    receiver.receive(offered(adapter(values=20)))
    for offset, data in pieces:
        with contextlib.suppress(WireError):
            receiver.receive(AdapterChunk(offset, data))
    assert receiver.take() is None
