"""Reference pictures: size, quality, and trust in nothing that arrives."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemino import media
from gemino.errors import CodecError
from gemino.frames import Frame, prepare
from gemino.video import reference
from gemino.video.reference import PictureEncoder, decode_picture, encode_picture

WEBCAM = Path(__file__).parent.parent / "samples" / "webcam.mp4"


@pytest.fixture(scope="module")
def face() -> Frame:
    return prepare(next(islice(media.read_frames(WEBCAM), 1)).frame, 512)


def test_the_best_quality_that_fits(face: Frame) -> None:
    sizes, qualities = [], []
    for budget in (5_000, 10_000, 20_000):
        data = encode_picture(face, budget)
        assert 0.6 * budget < len(data) <= budget
        sizes.append(len(data))
        qualities.append(float(cv2.PSNR(decode_picture(data), face)))
    assert qualities == sorted(qualities)
    assert qualities[1] > 34


def test_a_picture_is_as_fine_as_asked_or_as_fits(face: Frame) -> None:
    encoder = PictureEncoder(100_000)
    plain, fine, finest = (encoder.encode(face, one) for one in ("plain", "fine", "finest"))
    assert encoder.finest
    assert 1.2 * len(plain) < len(fine) < len(finest) / 1.2
    assert len(encoder.encode(face, "plain")) == len(plain)
    limited = PictureEncoder(8_000)
    assert limited.encode(face, "plain") == PictureEncoder(8_000).encode(face, "finest")
    assert not limited.finest


def test_a_flat_picture_is_small_and_an_impossible_budget_still_gives_one() -> None:
    flat = np.full((256, 256, 3), 90, np.uint8)
    data = encode_picture(flat, 10_000)
    assert len(data) < 500
    assert abs(float(decode_picture(data).mean()) - 90) < 3
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    assert decode_picture(encode_picture(noise, 100)).shape == (256, 256, 3)


@pytest.mark.parametrize("shape", [(128, 256, 3), (63, 63, 3), (1026, 1026, 3), (127, 127, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square"):
        encode_picture(np.zeros(shape, np.uint8), 1_000)


def test_a_picture_larger_than_allowed_is_refused_before_it_is_decoded(face: Frame) -> None:
    data = encode_picture(face, 8_000)
    with pytest.raises(CodecError, match=r"512|damaged"):
        decode_picture(data, max_px=256)


def test_damage_raises_nothing_but_codec_errors(face: Frame) -> None:
    data = encode_picture(prepare(face, 128), 2_000)
    for junk in (b"", b"\x01", b"\x02" + data[1:], bytes(2_000_000), b"\x01" + b"\xff" * 99):
        with pytest.raises(CodecError):
            decode_picture(junk)
    random = np.random.default_rng(0)
    refused = 0
    for cut in range(0, len(data), max(len(data) // 40, 1)):
        try:
            decode_picture(data[:cut])
        except CodecError:
            refused += 1
    for _ in range(150):
        mutated = bytearray(data)
        mutated[random.integers(1, len(data))] ^= 1 << random.integers(8)
        try:
            assert decode_picture(bytes(mutated)).shape == (128, 128, 3)
        except CodecError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("stalls", [1, 2])
def test_an_encoder_that_stalls_is_replaced_once(
    face: Frame, monkeypatch: pytest.MonkeyPatch, stalls: int
) -> None:
    """It cannot be made to stall, so the time limit is heard without waiting for it."""
    honest, left = reference._try_av1, [None] * stalls

    def stalling(frame: Frame, crf: int) -> bytes:
        if left:
            left.pop()
            raise TimeoutError("not back after 10 s")
        return honest(frame, crf)

    monkeypatch.setattr(reference, "_try_av1", stalling)
    if stalls == 2:
        with pytest.raises(CodecError, match="not back"):
            encode_picture(face, 12_000)
    else:
        assert decode_picture(encode_picture(face, 12_000)).shape == face.shape
