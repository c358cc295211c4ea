from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import pytest

from gemino.config import Rung, Sampling, first_reference_bytes
from gemino.errors import CodecError, MediaError
from gemino.evaluation import anchors, clips, offline
from gemino.evaluation.anchors import Anchor
from gemino.evaluation.clips import Footage, playing_order
from gemino.evaluation.codecs import Coded, first_pass, kept, pairs, start_positions
from gemino.evaluation.metrics import psnr
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import Frame, from_video_frame, to_video_frame
from gemino.runtime import ClassicalSynthesizer

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def footage() -> Footage:
    """Two thirds of a second of the webcam clip at 256 px."""
    return clips.load(SAMPLES / "webcam.mp4", 256, 5, max_seconds=20 / 30, play_s=2)


def worst_psnr(coded: Coded) -> float:
    originals = coded.footage.originals
    return min(psnr(originals[at], frame) for at, frame in coded.shown().items())


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
    result = Anchor(codec).run(footage, 120)
    assert result.rates.payload_kbps == pytest.approx(120, rel=0.3)
    assert not result.floor
    assert result.rates.onwire_kbps >= result.rates.payload_kbps + 12  # a packet a picture
    assert sorted(result.shown()) == sorted(footage.originals)
    assert set(result.frames) == kept(footage)
    assert len(result.sizes) == len(footage.order)
    assert worst_psnr(result) > 27


def test_every_frame_is_held_against_its_own_original(footage: Footage) -> None:
    result = Anchor("vp8").run(footage, 600)
    shown, places = result.shown(), sorted(footage.originals)
    own = psnr(footage.originals[places[-1]], shown[places[-1]])
    assert own > psnr(footage.originals[places[0]], shown[places[-1]])
    assert own > 35
    for at, before in pairs(footage).items():
        source = from_video_frame(footage.pictures[before])
        assert psnr(source, result.frames[at - 1]) > 35
    assert psnr(from_video_frame(footage.pictures[0]), result.frames[0]) > 30


def test_vp8_below_its_floor_is_measured_at_its_floor(footage: Footage) -> None:
    result = Anchor("vp8").run(footage, 6)
    assert result.floor
    assert result.rates.payload_kbps > 6.6


def test_av1_looks_better_than_vp8_at_the_same_rate(footage: Footage) -> None:
    vp8, av1 = Anchor("vp8").run(footage, 60), Anchor("av1").run(footage, 60)
    assert av1.rates.payload_kbps < vp8.rates.payload_kbps * 1.1
    assert worst_psnr(av1) > worst_psnr(vp8)


def test_a_size_that_a_codec_refuses_is_a_codec_error() -> None:
    tiny = clips.load(SAMPLES / "address.mp4", 2, 1, max_seconds=0.1)
    with pytest.raises(CodecError, match="av1"):
        Anchor("av1").run(tiny, 50)


def test_a_codec_that_this_ffmpeg_lacks_is_a_clear_error(
    footage: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(anchors._SETTINGS["x265"], encoder="libabsent")
    monkeypatch.setitem(anchors._SETTINGS, "x265", settings)
    with pytest.raises(CodecError, match="no libabsent; leave x265 out"):
        Anchor("x265").run(footage, 50)


def test_clips_are_played_forth_and_back_until_the_time_is_up() -> None:
    assert playing_order(4, 1.0, 2.5) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert playing_order(4, 1.0, 2.0) == [0, 1, 2, 3, 2, 1, 0]
    assert playing_order(1, 0.1, 40.0) == [0]


def test_even_a_long_clip_is_played_twice_unless_asked_not_to() -> None:
    assert playing_order(3, 50.0, 40.0) == [0, 1, 2, 1, 0]
    assert playing_order(3, 50.0, 0.0) == [0, 1, 2]


def test_the_last_pass_is_what_is_measured(footage: Footage) -> None:
    assert len(footage.order) == 20 + 2 * 19
    assert footage.settled == 38
    assert footage.measured == {2: 40, 7: 45, 12: 50, 17: 55}
    assert pairs(footage) == {40: 1, 50: 11}  # every second one, with the frame shown before
    backwards = clips.load(SAMPLES / "webcam.mp4", 64, 5, max_seconds=20 / 30, play_s=1)
    assert backwards.measured == {17: 21, 12: 26, 7: 31, 2: 36}
    assert pairs(backwards) == {21: 18, 31: 8}


def test_start_up_is_looked_at_ever_more_coarsely(footage: Footage) -> None:
    positions = start_positions(footage)
    assert positions[:4] == [0, 3, 6, 9]
    assert positions[-1] < len(footage.order)
    steps = [b - a for a, b in pairwise(positions)]
    assert steps[-1] > 3


def test_gemino_offline_meets_the_total_rate_and_measures_the_same_places(
    footage: Footage,
) -> None:
    codec = offline.Gemino("gemino", ClassicalSynthesizer(256), reference_bytes=5000)
    coded = codec.run(footage, 40)
    assert sorted(coded.shown()) == sorted(footage.originals)
    assert coded.rates.payload_kbps == pytest.approx(40, rel=0.25)
    reference_bytes = coded.details["reference_bytes"]
    assert 2000 < reference_bytes <= first_reference_bytes(256) + 5000  # a coarse one, a fine one
    assert coded.rates.payload_kbps == pytest.approx(
        coded.details["lr_kbps"] + reference_bytes * 8 / 60 / 1000, abs=0.01
    )


def moving(frames: int, fps: int) -> Footage:
    """Blobs that cross the picture at half its side a second, back and forth."""
    rng = np.random.default_rng(3)
    wide = np.asarray(cv2.resize(rng.integers(0, 256, (8, 24, 3), np.uint8), (1024, 256)), np.uint8)
    places = [128 * at // fps for at in range(frames)]
    pictures = [np.ascontiguousarray(wide[:, place : place + 256]) for place in places]
    coded = [to_video_frame(picture) for picture in pictures]
    order = playing_order(frames, frames / fps, 3)
    originals = dict(enumerate(pictures))
    return Footage("moving", 256, Fraction(fps), 1, coded, originals, order)


@pytest.mark.parametrize(("fps", "step"), [(30, 2), (60, 4)])
def test_a_thin_stream_has_half_of_the_pictures_and_shows_those_between(
    fps: int, step: int
) -> None:
    footage = moving(fps, fps)
    stream = offline.Stream("vp8", 128)
    codec = offline.Gemino("gemino", ClassicalSynthesizer(256), stream, reference_bytes=5000)
    coded = codec.run(footage, 28)
    assert (coded.details["frame_step"], coded.delay) == (step, step // 2)
    assert all(bool(size) is (at % step == 0) for at, size in enumerate(coded.sizes))
    sent, made, held = [], [], []
    for place, at in footage.measured.items():
        original, before = footage.originals[place], footage.order[at - at % step]
        if at % step == 0:
            sent.append(psnr(original, coded.frames[at]))
        elif at % step == step // 2:
            made.append(psnr(original, coded.frames[at]))
            held.append(psnr(original, footage.originals[before]))
    assert fmean(made) > fmean(sent) - 1.5
    assert fmean(made) > fmean(held) + 3
    whole = replace(codec, stream=replace(stream, every=True)).run(footage, 28)
    assert (whole.details["frame_step"], whole.delay) == (step // 2, 0)


def test_a_reference_takes_its_time_to_cross(footage: Footage) -> None:
    """The network is there only once the reference is: at eight times the rate, as in a call."""
    seen: list[tuple[bool, Frame]] = []

    class Watching(ClassicalSynthesizer):
        neural = False

        def add_reference(self, reference: Frame) -> None:  # noqa: ARG002
            self.neural = True

        def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
            seen.append((self.neural, lr))
            return super().synthesize(lr, sampling, log2_bits_per_pixel)

    codec = offline.Gemino("gemino", Watching(256), reference_bytes=5000)
    coded = codec.run(footage, 40)
    reference = coded.references[0]
    assert reference.position == round(reference.size * 8 / 1000 / (8 * 40) * 30)
    assert 1 <= reference.position < footage.settled
    looked_at = sorted(kept(footage) | set(first_pass(footage).values()))
    expected = [at >= reference.position for at in looked_at]
    assert [neural for neural, _ in seen] == expected


def test_bicubic_has_the_whole_rate_and_no_reference(footage: Footage) -> None:
    coded = offline.Bicubic("bicubic", offline.Stream("vp8", 64)).run(footage, 30)
    assert not coded.references
    assert coded.details == {"lr_codec": "vp8", "lr_px": 64}
    assert set(coded.frames) == kept(footage)
    assert coded.rates.payload_kbps == pytest.approx(30, rel=0.25)
    assert 18 < worst_psnr(coded) < 30


def test_an_lr_stream_comes_back_upsampled(footage: Footage) -> None:
    stream = offline.fit(footage, Rung(size_px=128), 60, once=True)
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
    result = meet(20, lambda k: Asked(k, Rates(k * 1.4, k)), 1, 1000, 2)
    assert result.rates.payload_kbps == pytest.approx(20)


def test_an_encoder_far_above_its_rate_is_not_asked_again() -> None:
    asked: list[float] = []

    def floor(kbps: float) -> Asked:
        asked.append(kbps)
        return Asked(kbps, Rates(100, 110))

    assert meet(20, floor, 1, 1000, 3).rates.payload_kbps == 100
    assert asked == [20]


def test_of_several_attempts_the_closest_counts() -> None:
    answers = iter([26.0, 12.0, 30.0])
    result = meet(20, lambda k: Asked(k, Rates(next(answers), 0)), 1, 1000, 3)
    assert result.rates.payload_kbps == 26.0
