"""The sending side: LR pictures as asked, and references when they are due."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gemino.config import REFERENCES_HELD, EncoderConfig, Rung
from gemino.encoder import EncodedFrame, Encoder
from gemino.frames import Frame, prepare, resize
from gemino.likeness import SAME_PICTURE, difference, thumbnail
from gemino.media import read_frames
from gemino.sampling import shrink
from gemino.video.lr import LrDecoder
from gemino.video.reference import PictureEncoder, decode_picture

SAMPLES = Path(__file__).parent.parent / "samples"
CONFIG = EncoderConfig(output_px=256, fps=Fraction(25), reference_max_bytes=4000)


def frames(name: str, count: int) -> list[Frame]:
    clip = zip(range(count), read_frames(SAMPLES / name), strict=False)
    return [prepare(timed.frame, 256) for _, timed in clip]


@pytest.fixture(scope="module")
def webcam() -> list[Frame]:
    return frames("webcam.mp4", 50)


@pytest.fixture(scope="module")
def address() -> list[Frame]:
    return frames("address.mp4", 50)


def encode_all(encoder: Encoder, clip: list[Frame], start_s: float = 0.0) -> Iterator[EncodedFrame]:
    for number, frame in enumerate(clip):
        yield encoder.encode(frame, start_s + number / 25)


def reference_at(sent: list[EncodedFrame]) -> list[int]:
    return [frame.index for frame in sent if frame.reference is not None]


def psnr(a: Frame, b: Frame) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def test_a_clip_becomes_an_lr_stream_and_one_reference(webcam: list[Frame]) -> None:
    sent = list(encode_all(Encoder(CONFIG), webcam))
    assert [frame.index for frame in sent] == list(range(50))
    assert [frame.keyframe for frame in sent] == [True] + 49 * [False]
    assert reference_at(sent) == [0]
    assert sent[0].reference is not None
    assert len(sent[0].reference) <= 4000
    assert psnr(decode_picture(sent[0].reference), webcam[0]) > 30
    decoder = LrDecoder("vp8")
    shown = [decoder.decode(frame.lr) for frame in sent]
    quality = [psnr(a, resize(b, 128)) for a, b in zip(shown, webcam, strict=True)]
    assert np.mean(quality) > 24
    total = sum(len(frame.lr) for frame in sent) * 8 / 2.0 / 1000
    assert total == pytest.approx(12.0, rel=0.35)  # two seconds, a key frame among them


def test_frames_of_any_size_and_aspect_are_taken() -> None:
    encoder = Encoder(CONFIG)
    for number, shape in enumerate([(720, 1280, 3), (61, 35, 3), (1, 1, 3), (300, 300, 3)]):
        sent = encoder.encode(np.full(shape, 90, np.uint8), number / 25)
        assert sent.index == number
        assert sent.lr


def test_a_cut_brings_a_reference_of_the_new_scene(
    webcam: list[Frame], address: list[Frame]
) -> None:
    encoder = Encoder(replace(CONFIG, reference_min_interval_s=1.0))
    sent = list(encode_all(encoder, webcam + address))
    assert reference_at(sent) == [0, 50]
    assert sent[50].reference is not None
    assert psnr(decode_picture(sent[50].reference), address[0]) > 28


def test_references_keep_their_distance(webcam: list[Frame], address: list[Frame]) -> None:
    encoder = Encoder(replace(CONFIG, reference_min_interval_s=3.0))
    assert reference_at(list(encode_all(encoder, webcam + address))) == [0, 75]


def test_a_new_scene_does_not_wait_for_a_pose(webcam: list[Frame], address: list[Frame]) -> None:
    """But for the scene before: a clip of nothing but cuts has a reference every interval."""
    moved = [np.roll(frame, 4, axis=1) for frame in webcam]
    dark = [255 - frame for frame in webcam]
    clip = [*webcam, *moved[:20], *address[:10], *dark, *address]
    config = replace(CONFIG, reference_min_interval_s=2.0, reference_kbps=60.0)
    sent = reference_at(list(encode_all(Encoder(config), clip)))
    assert sent[:4] == [0, 50, 70, 120]


def test_a_cut_and_back_again_needs_no_reference(webcam: list[Frame], address: list[Frame]) -> None:
    encoder = Encoder(replace(CONFIG, reference_min_interval_s=2.0))
    clip = webcam[:30] + address[:10] + webcam[30:] + webcam[:20]
    assert reference_at(list(encode_all(encoder, clip))) == [0]


def test_unlike_poses_bring_references_as_far_as_they_are_paid_for(webcam: list[Frame]) -> None:
    """Half a minute of a head that nods from one pose to the next, far more than is paid for."""
    poses = [np.roll(webcam[0], (2 * (n // 5), 2 * (n % 5)), (0, 1)) for n in range(25)]
    clip = [poses[n // 30] for n in range(30 * 25)]
    sent = list(encode_all(Encoder(replace(CONFIG, reference_kbps=2.0)), clip))
    total = sum(len(frame.reference) for frame in sent if frame.reference is not None)
    assert 0.6 * 60 * 2.0 * 125 < total <= 60 * 2.0 * 125  # a minute's worth in half of one
    assert min(np.diff(reference_at(sent))) >= 2 * 25
    assert reference_at(list(encode_all(Encoder(CONFIG), clip))) == [0]


def test_what_references_may_cost_can_change(webcam: list[Frame]) -> None:
    poses = [np.roll(webcam[0], (5 * (at // 2), 5 * (at % 2)), (0, 1)) for at in range(4)]
    encoder = Encoder(CONFIG)
    first = encoder.encode(poses[0], 0.0).reference
    assert first is not None
    assert encoder.encode(poses[1], 10.0).reference is None  # none but the first is paid for
    encoder.pay_for_references(2000, 4.0)
    second = encoder.encode(poses[2], 20.0).reference
    assert second is not None
    assert len(second) <= 2000 < len(first) <= 4000
    encoder.pay_for_references(2000, 0.0)
    assert encoder.encode(poses[3], 30.0).reference is None


def test_a_pose_that_was_sent_is_not_sent_again(webcam: list[Frame]) -> None:
    here, there = webcam[0], np.roll(webcam[0], 40, axis=1)
    clip = [here if n // 60 % 2 == 0 else there for n in range(480)]
    sent = list(encode_all(Encoder(replace(CONFIG, reference_kbps=10.0)), clip))
    assert reference_at(sent) == [0, 60]


def test_with_an_executor_no_frame_waits_for_a_reference(webcam: list[Frame]) -> None:
    with ThreadPoolExecutor(1) as executor:
        started = threading.Event()
        executor.submit(started.wait)
        encoder = Encoder(CONFIG, executor)
        before = [encoder.encode(webcam[n], n / 25).reference for n in range(5)]
        assert before == 5 * [None]
        started.set()
        executor.submit(lambda: None).result()
        later = encoder.encode(webcam[5], 0.2)
    assert later.reference == Encoder(CONFIG).encode(webcam[0], 0.0).reference


def test_a_reference_is_sent_on_request(webcam: list[Frame]) -> None:
    encoder = Encoder(replace(CONFIG, reference_min_interval_s=1.0))
    first = list(encode_all(encoder, webcam[:10]))
    encoder.request_reference()
    encoder.request_reference()
    later = list(encode_all(encoder, webcam[10:50], start_s=0.4))
    assert reference_at(first + later) == [0, 25]


def test_a_receiver_that_keeps_wishing_does_not_starve_the_stream(webcam: list[Frame]) -> None:
    """It gets two minutes' worth, and one more that was due before: not one every other second."""
    config = replace(CONFIG, reference_kbps=1.0, reference_min_interval_s=0.1)
    encoder, sizes = Encoder(config), []
    for number in range(50):
        encoder.request_reference()
        sent = encoder.encode(webcam[0], number / 2)
        sizes += [len(sent.reference)] if sent.reference is not None else []
    assert 2 * 7_500 < sum(sizes) <= 2 * 7_500 + max(sizes)
    unpaid = Encoder(replace(config, reference_kbps=0.0))
    for number in range(50):
        unpaid.request_reference()
        unpaid.encode(webcam[0], number / 2)
    assert len(unpaid._references._paid) == REFERENCES_HELD


def test_a_coarse_reference_goes_before_the_first(webcam: list[Frame]) -> None:
    config = replace(CONFIG, first_reference_bytes=1500, reference_min_interval_s=0.5)
    sent = list(encode_all(Encoder(config), webcam))
    coarse, fine = (frame.reference for frame in sent if frame.reference is not None)
    assert reference_at(sent) == [0, 1]
    assert coarse is not None
    assert fine is not None
    assert len(coarse) <= 1500 < len(fine) <= 4000
    assert fine == Encoder(CONFIG).encode(webcam[0], 0.0).reference
    assert 25 < psnr(decode_picture(coarse), webcam[0]) < psnr(decode_picture(fine), webcam[0]) - 2


def test_with_an_executor_the_finer_reference_follows_by_itself(webcam: list[Frame]) -> None:
    config = replace(CONFIG, first_reference_bytes=1500)
    with ThreadPoolExecutor(1) as executor:
        encoder = Encoder(config, executor)
        sent = []
        for frame in webcam[:30]:
            sent.append(encoder.encode(frame, 0.0))
            executor.submit(lambda: None).result()
    alone = encode_all(Encoder(config), webcam[:30])
    assert [one.reference for one in sent if one.reference] == [
        one.reference for one in alone if one.reference
    ]


@pytest.mark.parametrize(("minute_bytes", "poses"), [(8_000, 2), (12_400, 2), (16_400, 3)])
def test_a_coarse_reference_is_paid_for_unless_the_stream_is_thin(
    webcam: list[Frame], minute_bytes: int, poses: int
) -> None:
    """As fine ones take up to 4,000 bytes, and a coarse one 1,500."""
    clip = [np.roll(webcam[0], (2 * at, 2 * at), (0, 1)) for at in range(5) for _ in range(75)]
    config = replace(CONFIG, reference_kbps=minute_bytes / 60 / 125, first_reference_bytes=1500)
    sent = list(encode_all(Encoder(config), clip))
    coarse, *fine = [len(one.reference) for one in sent if one.reference is not None]
    assert len(fine) == poses
    assert (coarse + sum(fine) > minute_bytes) == (8 * coarse > minute_bytes)


def test_a_plain_picture_needs_no_coarse_reference_first() -> None:
    """It is as fine as it gets in a few bytes."""
    plain = np.full((256, 256, 3), 99, np.uint8)
    plain[40:80, 40:80] = 200
    sent = list(encode_all(Encoder(replace(CONFIG, first_reference_bytes=1500)), 10 * [plain]))
    assert reference_at(sent) == [0]


STILL = replace(CONFIG, reference_max_bytes=20_000, reference_kbps=6.0)


def test_a_head_that_keeps_still_is_coded_once_more_and_finer(webcam: list[Frame]) -> None:
    sent = list(encode_all(Encoder(STILL), 300 * webcam[:1]))
    assert reference_at(sent) == [0, 125]
    first, finer = (frame.reference for frame in sent if frame.reference is not None)
    assert first is not None
    assert finer is not None
    assert len(first) < len(finer) < 2 * len(first)
    shown = decode_picture(first), decode_picture(finer)
    assert psnr(shown[0], webcam[0]) + 1 < psnr(shown[1], webcam[0])
    # The receiver puts it in the first one's place.
    assert difference(thumbnail(shown[0]), thumbnail(shown[1])) < SAME_PICTURE


def test_the_calm_before_a_finer_picture_begins_with_the_newest_pose(webcam: list[Frame]) -> None:
    clip = 100 * webcam[:1] + 200 * [np.roll(webcam[0], 20, axis=1)]
    assert reference_at(list(encode_all(Encoder(STILL), clip))) == [0, 100, 225]


@pytest.mark.parametrize(
    "config",
    [
        replace(STILL, reference_kbps=2.0),  # which new poses may need
        replace(STILL, reference_max_bytes=3_000),  # which it took: it cannot be finer
    ],
)
def test_a_finer_picture_is_not_sent_where_it_does_not_pay(
    webcam: list[Frame], config: EncoderConfig
) -> None:
    assert reference_at(list(encode_all(Encoder(config), 300 * webcam[:1]))) == [0]


def test_a_rich_stream_has_finer_references_from_the_first(webcam: list[Frame]) -> None:
    """And none is coded once more: what is left is for the LR stream."""
    encoder = Encoder(replace(STILL, reference_kbps=12.0))
    sent = list(encode_all(encoder, 150 * webcam[:1]))
    assert reference_at(sent) == [0]
    expected = PictureEncoder(STILL.reference_max_bytes)
    assert sent[0].reference == expected.encode(webcam[0], "fine")
    poorer = Encoder(STILL).encode(webcam[0], 0.0).reference
    assert poorer == expected.encode(webcam[0], "plain")


def test_a_key_frame_is_sent_on_demand(webcam: list[Frame]) -> None:
    encoder = Encoder(CONFIG)
    encoder.encode(webcam[0], 0.0)
    assert not encoder.encode(webcam[1], 0.04).keyframe
    assert encoder.encode(webcam[2], 0.08, force_keyframe=True).keyframe


def test_a_change_of_rung_costs_one_key_frame_and_no_reference(webcam: list[Frame]) -> None:
    encoder = Encoder(replace(CONFIG, reference_min_interval_s=0.0))
    encoder.encode(webcam[0], 0.0)
    encoder.set_rung(CONFIG.rung)  # no change
    assert not encoder.encode(webcam[1], 0.04).keyframe
    encoder.set_rung(Rung("vp8", 256, 50.0))
    sent = encoder.encode(webcam[2], 0.08)
    assert (sent.keyframe, sent.rung, sent.reference) == (True, Rung("vp8", 256, 50.0), None)
    assert LrDecoder("vp8").decode(sent.lr).shape == (256, 256, 3)


def test_the_same_frames_give_the_same_bytes(webcam: list[Frame]) -> None:
    both = [[(s.lr, s.reference) for s in encode_all(Encoder(CONFIG), webcam[:9])] for _ in "ab"]
    assert both[0] == both[1]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="output_px"):
        Encoder(replace(CONFIG, output_px=2048))
    with pytest.raises(ValueError, match="larger than the output"):
        Encoder(replace(CONFIG, rung=Rung("vp8", 512, 300.0)))
    with pytest.raises(ValueError, match="larger than the output"):
        Encoder(CONFIG).set_rung(Rung("vp8", 512, 300.0))


AV1 = replace(CONFIG, rung=Rung("av1", 128, 20.0), foveate=True)


def test_an_av1_stream_looks_closer_at_the_face(webcam: list[Frame]) -> None:
    sent = [Encoder(AV1).encode(webcam[0], 0.0), Encoder(CONFIG).encode(webcam[0], 0.0)]
    assert sent[0].rung.fovea is not None
    assert abs(sent[0].rung.fovea.x - 15) <= 2
    assert sent[1].rung.fovea is None
    decoder = LrDecoder("av1")
    picture = decoder.decode(sent[0].lr)
    assert decoder.fovea == sent[0].rung.fovea
    assert psnr(picture, shrink(webcam[0], sent[0].rung.sampling)) > 28
    assert psnr(picture, resize(webcam[0], 128)) < 22


@pytest.mark.parametrize("rung", [Rung("vp8", 128, 20.0), Rung("av1", 64, 8.0)])
def test_other_streams_look_evenly(webcam: list[Frame], rung: Rung) -> None:
    sent = Encoder(replace(AV1, rung=rung)).encode(webcam[0], 0.0)
    assert sent.rung == rung


def test_a_receiver_that_does_not_know_foveas_gets_none(webcam: list[Frame]) -> None:
    encoder = Encoder(AV1)
    encoder.encode(webcam[0], 0.0)
    encoder.look_evenly()
    sent = encoder.encode(webcam[1], 0.04)
    assert sent.keyframe
    assert sent.rung == AV1.rung


def test_references_do_not_depend_on_the_fovea(webcam: list[Frame], address: list[Frame]) -> None:
    """What one clip's references cost is known before its LR stream is fitted to what is left."""
    clip = [*webcam[:20], *address[:20]]
    both = []
    for foveate in (True, False):
        config = replace(AV1, foveate=foveate, reference_min_interval_s=0.1)
        both.append([one.reference for one in encode_all(Encoder(config), clip)])
    assert both[0] == both[1]
    assert sum(reference is not None for reference in both[0]) == 2


def test_no_more_references_a_minute_than_a_receiver_holds(webcam: list[Frame]) -> None:
    """However much the rate would pay for: the first ones would be pushed out."""
    config = replace(CONFIG, reference_kbps=400.0, reference_min_interval_s=0.01)
    drifting = [np.roll(webcam[0], 6 * turn, 1) for turn in range(24)]
    sent = list(encode_all(Encoder(config), drifting))
    assert len(reference_at(sent)) == REFERENCES_HELD
