"""The receiving side: whatever arrives, a picture is shown."""

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gemino.config import EncoderConfig, Rung, Sampling
from gemino.decoder import Decoder
from gemino.encoder import EncodedFrame, Encoder
from gemino.errors import CodecError
from gemino.frames import Frame, prepare, resize
from gemino.media import read_frames
from gemino.rate import BitsPerPixelMeter
from gemino.runtime import ClassicalSynthesizer
from gemino.runtime.torch_runtime import TorchSynthesizer
from tiny_model import write_tiny_model

CLIP = Path(__file__).parent.parent / "samples" / "address.mp4"


class Notebook(ClassicalSynthesizer):
    """Upsamples, and notes what it is given."""

    def __init__(self) -> None:
        super().__init__(256)
        self.references: list[Frame] = []
        self.levels: list[float] = []

    def add_reference(self, reference: Frame) -> None:
        self.references.append(reference)

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        self.levels.append(log2_bits_per_pixel)
        return super().synthesize(lr, sampling, log2_bits_per_pixel)


@pytest.fixture(scope="module")
def source() -> list[Frame]:
    clip = zip(range(12), read_frames(CLIP), strict=False)
    return [prepare(timed.frame, 256) for _, timed in clip]


@pytest.fixture(scope="module")
def sent(source: list[Frame]) -> list[EncodedFrame]:
    encoder = Encoder(EncoderConfig(256, Rung("vp8", 128, 30.0), Fraction(25), 5000))
    return [encoder.encode(frame, i / 25) for i, frame in enumerate(source)]


def psnr(a: Frame, b: Frame) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def test_a_stream_is_shown_and_its_rate_is_followed(
    sent: list[EncodedFrame], source: list[Frame]
) -> None:
    notebook, meter = Notebook(), BitsPerPixelMeter()
    decoder = Decoder(notebook)
    wanted = [decoder.wants_keyframe]
    for frame, original in zip(sent, source, strict=True):
        shown = decoder.decode(frame.lr, frame.index)
        assert shown.frame.shape == (256, 256, 3)
        assert np.array_equal(shown.frame, resize(shown.lr, 256))
        assert psnr(shown.lr, resize(original, 128)) > 27
        assert (shown.intact, shown.neural) == (True, False)
        assert shown.decode_ms > 0
        wanted.append(decoder.wants_keyframe)
    assert wanted == [True] + 12 * [False]
    assert notebook.levels == [meter.update(len(frame.lr), 128) for frame in sent]


def test_the_newest_reference_that_decodes_is_used(sent: list[EncodedFrame]) -> None:
    notebook = Notebook()
    decoder = Decoder(notebook)
    reference = sent[0].reference
    assert reference is not None
    decoder.add_reference(reference)
    for junk in (b"", b"\x01", b"\x07" + reference[1:], reference[:50], bytes(500)):
        with pytest.raises(CodecError):
            decoder.add_reference(junk)
    assert len(notebook.references) == 1
    decoder.add_reference(reference)
    assert len(notebook.references) == 2


def test_a_model_takes_over_with_the_first_reference(
    sent: list[EncodedFrame], tmp_path: Path
) -> None:
    files = write_tiny_model(tmp_path / "tiny")
    decoder = Decoder(TorchSynthesizer(files, 256, device="cpu", precision="float32"))
    assert not decoder.decode(sent[0].lr).neural
    assert sent[0].reference is not None
    decoder.add_reference(sent[0].reference)
    shown = decoder.decode(sent[1].lr)
    assert shown.neural
    assert not np.array_equal(shown.frame, resize(shown.lr, 256))


def test_before_the_first_key_frame_a_grey_picture_is_shown(sent: list[EncodedFrame]) -> None:
    decoder = Decoder(Notebook())
    shown = decoder.decode(sent[3].lr, 3)
    assert (shown.frame == 128).all()
    assert shown.frame.shape == (256, 256, 3)
    assert not shown.intact
    assert decoder.wants_keyframe


def test_a_broken_picture_repeats_the_last_one(sent: list[EncodedFrame]) -> None:
    decoder = Decoder(Notebook())
    good = decoder.decode(sent[0].lr, 0)
    for junk in (b"", b"\x00", bytes(2_000_000), b"\x10\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f"):
        shown = decoder.decode(junk, 1)
        assert np.array_equal(shown.frame, good.frame)
        assert not shown.intact
    assert decoder.wants_keyframe
    mended = decoder.decode(sent[0].lr, 2)
    assert mended.intact
    assert not decoder.wants_keyframe


def test_a_lost_picture_is_noticed_until_the_next_key_frame(sent: list[EncodedFrame]) -> None:
    decoder = Decoder(Notebook())
    intact = [decoder.decode(sent[i].lr, i).intact for i in (0, 1, 3, 4)]
    assert intact == [True, True, False, False]
    assert decoder.wants_keyframe
    assert decoder.decode(sent[0].lr, 5).intact


def test_a_picture_that_comes_too_late_is_decoded_but_not_rebuilt(
    sent: list[EncodedFrame],
) -> None:
    notebook = Notebook()
    decoder, other = Decoder(notebook), Decoder(Notebook())
    for frame in sent[:6]:
        picture = decoder.decode_lr(frame.lr, frame.index)
        wanted = other.decode(frame.lr, frame.index)
    assert picture is not None
    shown = decoder.rebuild(picture)
    assert len(notebook.levels) == 1
    assert np.array_equal(shown.frame, wanted.frame)
    assert shown.intact


def test_no_bytes_make_the_decoder_raise(sent: list[EncodedFrame]) -> None:
    rng = random.Random(11)
    decoder = Decoder(Notebook())
    for _ in range(60):
        for frame in sent:
            data = bytearray(frame.lr)
            if rng.random() < 0.3:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if rng.random() < 0.1:
                del data[rng.randrange(len(data)) :]
            assert decoder.decode(bytes(data), rng.randrange(1 << 16)).frame.shape == (256, 256, 3)
