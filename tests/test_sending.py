"""What becomes of pictures and references that nobody can use."""

import numpy as np
import pytest

from gemino.call.conversation import Conversation
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.sender import PictureSender
from gemino.call.sources import PatternSource
from gemino.call.stats import Counters
from gemino.config import EncoderConfig
from gemino.errors import CallError
from gemino.frames import resize
from gemino.wire import Hello
from test_gallery import offers_of, scene


def test_references_that_nobody_can_use_do_not_pile_up() -> None:
    media = MediaOptions(size_px=256, model=None)
    feed = PatternSource().open(256, media.kbps, None)
    outgoing = Outgoing(PeerOptions("room", "", media, source=PatternSource()), feed)
    try:
        outgoing.spare_references()
        assert offers_of(outgoing, scene(1), 0.0) == []
        assert outgoing._pictures.take_references() == []
    finally:
        outgoing.close()


def test_frames_that_follow_the_end_become_nothing() -> None:
    pictures = PictureSender(EncoderConfig(output_px=256), Counters())
    assert pictures.encode(scene(1), 0.0, False) != b""
    pictures.close()
    assert pictures.encode(scene(1), 0.1, False) == b""
    pictures.close()


def test_the_stream_begins_with_a_key_frame_where_a_primed_picture_is_not_sent() -> None:
    counters = Counters()
    pictures = PictureSender(EncoderConfig(output_px=256, foveate=True), counters)
    pictures.prime(scene(1))
    pictures.look_evenly()
    pictures.encode(scene(1), 0.0, False)
    pictures.encode(scene(1), 0.1, False)
    pictures.close()
    assert (counters.frames, counters.key_frames) == (2, 1)


def test_references_cost_less_where_loss_has_lowered_the_rate() -> None:
    media = MediaOptions(kbps=100, size_px=256, model=None)
    feed = PatternSource().open(256, media.kbps, None)
    outgoing = Outgoing(PeerOptions("room", "", media, source=PatternSource()), feed)
    assert isinstance(outgoing._pictures, PictureSender)
    try:
        asked = outgoing._pictures._encoder.config
        for _ in range(30):
            outgoing._adaptation.on_loss(50, 100)
        offers_of(outgoing, scene(1), 0.0)
        lowered = outgoing._pictures._encoder.config
        assert lowered.rung.video_kbps <= asked.rung.video_kbps
        assert lowered.reference_kbps < asked.reference_kbps / 2
        assert lowered.reference_max_bytes < asked.reference_max_bytes
    finally:
        outgoing.close()


def test_a_message_that_we_stumble_over_ends_the_call_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stumble(_: object) -> None:
        raise ZeroDivisionError("division by zero")

    media = MediaOptions(size_px=256, model=None)
    options = PeerOptions("room", "", media, source=PatternSource())
    outgoing = Outgoing(options, PatternSource().open(256, media.kbps, None))
    try:
        talk = Conversation(options, outgoing, None, 0.0)
        monkeypatch.setattr(outgoing, "receive", stumble)
        hello = Hello(codecs=("av1",), output_sizes_px=(256,))
        assert talk.receive(hello.serialize(), 0.0) == []
        with pytest.raises(CallError, match="a Hello of the other peer cannot be taken"):
            talk.check(0.0)
    finally:
        outgoing.close()


def test_no_reference_is_larger_than_the_other_peer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    media = MediaOptions(kbps=100, size_px=256, model=None)
    feed = PatternSource().open(256, media.kbps, None)
    options = PeerOptions("room", "", media, source=PatternSource())
    outgoing = Outgoing(options, feed)
    sent: list[bytes] = []
    monkeypatch.setattr(outgoing.side.references, "send", sent.append)
    try:
        outgoing.prime()  # with what we would send to anybody
        talk = Conversation(options, outgoing, None, 0.0)
        hello = Hello(codecs=("av1",), output_sizes_px=(256,), max_reference_bytes=3_000)
        talk.receive(hello.serialize(), 0.0)
        for number in range(3):
            noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            offers_of(outgoing, resize(noise, 256), 4.0 * number)
        assert len(sent) >= 2
        assert max(map(len, sent)) <= 3_000
    finally:
        outgoing.close()
