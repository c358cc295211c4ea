"""What becomes of pictures and references that nobody can use."""

from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.sender import PictureSender
from gemino.call.sources import PatternSource
from gemino.call.stats import Counters
from gemino.config import EncoderConfig
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
