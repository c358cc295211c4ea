from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from gemino.config import Rung
from gemino.errors import CodecError, MediaError
from gemino.evaluation import anchors, clips, offline
from gemino.evaluation.clips import Footage
from gemino.evaluation.metrics import psnr
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import from_video_frame
from gemino.runtime import ClassicalSynthesizer

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def footage() -> Footage:
    """Two thirds of a second of the webcam clip at 256 px."""
    return clips.load(SAMPLES / "webcam.mp4", 256, 5, max_seconds=20 / 30)


def worst_psnr(footage: Footage, result: anchors.AnchorResult) -> float:
    return min(psnr(footage.originals[at], frame) for at, frame in result.frames.items())


def test_a_clip_is_loaded_with_its_measured_originals(footage: Footage) -> None:
    assert (footage.name, len(footage.pictures)) == ("webcam", 20)
    assert float(footage.fps) == 30
    assert sorted(footage.originals) == [2, 7, 12, 17]
    for at, original in footage.originals.items():
        assert original.shape == (256, 256, 3)
        assert psnr(original, from_video_frame(footage.pictures[at])) > 35


def test_a_clip_shorter_than_half_a_step_is_measured_at_its_end() -> None:
    short = clips.load(SAMPLES / "address.mp4", 64, 100, name="short", max_seconds=0.1)
    assert short.name == "short"
    assert sorted(short.originals) == [len(short.pictures) - 1]


def test_clips_are_found_in_folders_by_name(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in clips.find([tmp_path])] == ["a.MKV", "b.mp4"]
    assert clips.find([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]
    with pytest.raises(MediaError, match="no such file"):
        clips.find([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds no clip"):
        clips.find([tmp_path / "empty"])


@pytest.mark.parametrize("codec", anchors.ANCHOR_CODECS)
def test_a_codec_meets_a_rate_that_it_can_reach(
    footage: Footage, codec: anchors.AnchorCodec
) -> None:
    result = anchors.run(codec, footage, 120)
    assert result.rates.payload_kbps == pytest.approx(120, rel=0.3)
    assert not result.floor
    assert result.rates.onwire_kbps >= result.rates.payload_kbps + 12  # a packet a picture
    assert sorted(result.frames) == sorted(footage.originals)
    assert worst_psnr(footage, result) > 27


def test_every_frame_is_held_against_its_own_original(footage: Footage) -> None:
    result = anchors.run("vp8", footage, 600)
    places = sorted(footage.originals)
    own = psnr(footage.originals[places[-1]], result.frames[places[-1]])
    assert own > psnr(footage.originals[places[0]], result.frames[places[-1]])
    assert own > 35


def test_vp8_below_its_floor_is_measured_at_its_floor(footage: Footage) -> None:
    result = anchors.run("vp8", footage, 6)
    assert result.floor
    assert result.rates.payload_kbps > 6.6


def test_av1_looks_better_than_vp8_at_the_same_rate(footage: Footage) -> None:
    vp8, av1 = (anchors.run(codec, footage, 60) for codec in ("vp8", "av1"))
    assert av1.rates.payload_kbps < vp8.rates.payload_kbps * 1.1
    assert worst_psnr(footage, av1) > worst_psnr(footage, vp8)


def test_a_size_that_a_codec_refuses_is_a_codec_error() -> None:
    tiny = clips.load(SAMPLES / "address.mp4", 2, 1, max_seconds=0.1)
    with pytest.raises(CodecError, match="av1"):
        anchors.run("av1", tiny, 50)


def test_short_clips_are_played_forth_and_back_and_forth() -> None:
    assert anchors.playing_order(4, 0.1) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert anchors.playing_order(4, anchors.SETTLED_S) == [0, 1, 2, 3]
    assert anchors.playing_order(1, 0.1) == [0]


def test_gemino_offline_meets_the_total_rate_and_measures_the_same_places(
    footage: Footage,
) -> None:
    result = offline.run(footage, 40, ClassicalSynthesizer(256), 5000)
    assert sorted(result.frames) == sorted(result.bicubic) == sorted(footage.originals)
    assert 2000 < result.reference_bytes <= 5000
    reference_kbps = result.reference_bytes * 8 / 60 / 1000
    assert result.rates.payload_kbps == pytest.approx(result.lr_rates.payload_kbps + reference_kbps)
    for at, frame in result.frames.items():  # without a model both are the same upsampling
        assert (frame == result.bicubic[at]).all()


def test_an_lr_stream_comes_back_upsampled(footage: Footage) -> None:
    stream = offline.fit(footage, Rung(size_px=128), 60)
    shown = list(stream.upsampled(256))
    assert len(shown) == len(footage.pictures)
    assert min(psnr(footage.originals[at], shown[at]) for at in footage.originals) > 24


def test_rates_count_packets_and_spread_references_over_a_minute() -> None:
    rates = count([1200, 1201], Fraction(1))
    assert rates.payload_kbps == pytest.approx(2401 * 8 / 2 / 1000)
    assert rates.onwire_kbps == pytest.approx((2401 + 3 * 50) * 8 / 2 / 1000)
    with_reference = count([1200, 1201], Fraction(1), [6000])
    assert with_reference.payload_kbps - rates.payload_kbps == pytest.approx(6000 * 8 / 60 / 1000)
    long = count([0] * 120, Fraction(1), [6000])
    assert long.payload_kbps == pytest.approx(6000 * 8 / 120 / 1000)


@dataclass(frozen=True)
class Asked:
    """A stand-in for a coded clip: what was asked, and what came."""

    asked: float
    rates: Rates


def test_an_encoder_that_spends_too_much_is_asked_for_less() -> None:
    result = meet(20, lambda k: Asked(k, Rates(k * 1.4, k)), 1, 1000)
    assert result.rates.payload_kbps == pytest.approx(20)


def test_an_encoder_far_above_its_rate_is_not_asked_again() -> None:
    asked: list[float] = []

    def floor(kbps: float) -> Asked:
        asked.append(kbps)
        return Asked(kbps, Rates(100, 110))

    assert meet(20, floor, 1, 1000).rates.payload_kbps == 100
    assert asked == [20]


def test_of_several_attempts_the_closest_counts() -> None:
    answers = iter([26.0, 12.0, 30.0])
    result = meet(20, lambda k: Asked(k, Rates(next(answers), 0)), 1, 1000)
    assert result.rates.payload_kbps == 26.0
