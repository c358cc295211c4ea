import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gemino.evaluation import clips, metrics
from gemino.evaluation.anchors import Anchor
from gemino.evaluation.clips import Footage
from gemino.evaluation.codecs import Coded, Reference, kept
from gemino.evaluation.measuring import Judge, startup, worst_mean
from gemino.evaluation.pictures import Box
from gemino.evaluation.regions import Faces, Regions, faces
from gemino.frames import Frame, from_video_frame, resize, to_video_frame
from gemino.nn.lpips import Lpips
from gemino.runtime.perceptual import load_lpips
from test_metrics import DEGRADE, GOLDEN_LPIPS, boxed, noisy, scene

CLIP = Path(__file__).parents[1] / "samples" / "webcam.mp4"


@pytest.fixture(scope="module")
def network() -> Lpips:
    return load_lpips()


@pytest.fixture(scope="module")
def footage() -> Footage:
    return clips.load(CLIP, 256, 5, max_seconds=20 / 30, play_s=2)


def shown_as(footage: Footage, change: Mapping[int, Frame] | None = None) -> Coded:
    """A codec that loses nothing, but for the frames of `change`, by position."""
    frames = {}
    for at in kept(footage):
        place = footage.order[at]
        exact = at >= footage.settled and place in footage.originals
        frames[at] = (
            footage.originals[place] if exact else from_video_frame(footage.pictures[place])
        )
    frames |= change or {}
    return Coded(footage, 30.0, [500] * len(footage.order), frames)


def still(frames: int, fps: int = 10) -> Footage:
    """Grey pictures played once."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    pictures = [to_video_frame(grey) for _ in range(frames)]
    return Footage("still", 64, Fraction(fps), 5, pictures, {2: grey}, list(range(frames)))


def test_what_is_lossless_has_the_best_of_every_figure(network: Lpips, footage: Footage) -> None:
    found = faces(footage, CLIP, None)
    figures = Judge(network).figures(shown_as(footage), found)
    for name in ("lpips", "lpips_worst5", "lpips_unscaled", "lpips_mouth", "lpips_eyes"):
        assert figures[name] == pytest.approx(0, abs=1e-6)
    for name in ("psnr_db", "psnr_mouth_db", "psnr_eyes_db"):
        assert figures[name] == 100  # not infinite: a mean must not be lost
    assert figures["ssim"] == figures["ssim_256"] == pytest.approx(1)
    assert figures["flicker"] == pytest.approx(0, abs=0.12)  # the pairs are seen in 4:2:0
    assert figures["payload_kbps"] == pytest.approx(500 * 8 * 30 / 1000)
    assert figures["onwire_kbps"] == pytest.approx(550 * 8 * 30 / 1000)
    assert "mouth_error" not in figures


def test_damage_to_a_mouth_shows_in_the_mouth_alone(network: Lpips, footage: Footage) -> None:
    found = faces(footage, CLIP, None)
    damaged: dict[int, Frame] = {}
    for place, at in footage.measured.items():
        frame, box = footage.originals[place].copy(), found.regions[place].mouth
        box.cut(frame)[:] = 128
        damaged[at] = frame
    figures = Judge(network).figures(shown_as(footage, damaged), found)
    mouth, eyes, whole = (figures[f"lpips{part}"] for part in ("_mouth", "_eyes", ""))
    assert mouth is not None
    assert eyes is not None
    assert whole is not None
    assert eyes == pytest.approx(0, abs=1e-6)
    assert mouth > 0.3
    assert 0 < whole < mouth / 3
    assert figures["psnr_eyes_db"] == 100


def test_a_crop_is_measured_at_128_px(network: Lpips) -> None:
    small, other = resize(scene(), 40), resize(noisy(scene()), 40)
    expected = metrics.lpips(network, resize(small, 128), resize(other, 128))
    assert metrics.crop_lpips(network, small, other) == pytest.approx(expected)


def test_regions_beyond_the_face_are_averaged_over_the_frames_that_show_it(
    network: Lpips, footage: Footage
) -> None:
    box = Box(0, 0, 64)
    some = Faces({2: Regions(box, box, (box, box))})
    ruined = footage.measured[7]
    black = np.zeros((256, 256, 3), np.uint8)
    figures = Judge(network).figures(shown_as(footage, {ruined: black}), some)
    assert figures["lpips_mouth"] == pytest.approx(0, abs=1e-6)


def test_an_error_that_stands_still_does_not_flicker(network: Lpips) -> None:
    before, after = scene(), np.roll(scene(), 3, axis=1)
    brighter = [np.clip(f.astype(np.int16) // 2 + 40, 0, 255).astype(np.uint8) for f in (before,)]
    offset = [(f // 2 + 10, f // 2 + 25) for f in (before, after)]
    steady = metrics.flicker(network, (offset[0][0], offset[1][0]), (offset[0][1], offset[1][1]))
    assert steady == pytest.approx(0, abs=1e-6)
    coming = metrics.flicker(network, (before, before), (before, noisy(before)))
    frozen = metrics.flicker(network, (before, after), (brighter[0], brighter[0]))
    assert coming > 0.1
    assert frozen > 0.1


def test_flicker_is_lpips_of_the_changes_around_grey(network: Lpips) -> None:
    before, after = scene(), boxed(scene())
    change = np.clip(after.astype(int) - before + 128, 0, 255).astype(np.uint8)
    grey = np.full_like(before, 128)
    expected = metrics.lpips(network, change, grey)
    assert metrics.flicker(network, (before, after), (after, after)) == pytest.approx(expected)


@pytest.mark.parametrize("how", ["noisy", "boxed"])
def test_the_original_conventions_are_other_figures(network: Lpips, how: str) -> None:
    pair = scene(), DEGRADE[how](scene())
    assert metrics.lpips(network, *pair) == pytest.approx(GOLDEN_LPIPS[how], abs=2e-4)
    assert abs(metrics.lpips(network, *pair, unscaled=True) - GOLDEN_LPIPS[how]) > 0.003
    larger = [resize(picture, 512) for picture in pair]
    assert metrics.original_ssim(*larger) == pytest.approx(
        metrics.ssim(*(resize(picture, 256) for picture in larger))
    )


def test_the_worst_twentieth_is_rounded_up() -> None:
    assert worst_mean([0.1, 0.5, 0.2]) == 0.5
    assert worst_mean(at / 100 for at in range(100)) == pytest.approx(0.97)
    assert worst_mean([1.0] + [0.0] * 20) == 0.5  # two of 21


def test_start_up_ends_with_the_first_sharp_frame() -> None:
    footage = still(40)
    sizes = [1000] + [100] * 39
    grey = footage.originals[2]
    coded = Coded(footage, 1.0, sizes, dict.fromkeys(kept(footage), grey))
    found = startup(coded, 0.2, lambda position: 0.6 - 0.1 * position)
    assert found is not None
    # Sharp is a quarter above 0.2, at the fourth frame; the link carries a kilobyte a second.
    assert found.payload_bytes == 1000 + 4 * 100
    assert found.seconds == pytest.approx(1.4)
    assert startup(coded, 0.1, lambda _: 0.131) is None
    assert startup(coded, 0.1, lambda _: 0.129) is not None  # 0.03 more will do where 25 % is less


def test_a_frame_that_one_is_made_before_is_shown_with_the_next() -> None:
    footage = still(40)
    frames = dict.fromkeys(kept(footage), footage.originals[2])
    coded = Coded(footage, 100.0, [10, 0] * 20, frames, delay=1)
    found = startup(coded, 0.1, lambda position: 0.1 if position >= 3 else 0.5)
    assert found is not None
    assert found.seconds == pytest.approx(0.4 + 10 / 100_000)
    assert found.payload_bytes == 20


def test_start_up_counts_references_that_are_there() -> None:
    footage = still(40)
    references = [Reference(3, 5000), Reference(30, 7000)]
    frames = dict.fromkeys(kept(footage), footage.originals[2])
    coded = Coded(footage, 100.0, [10] * 40, frames, references)
    found = startup(coded, 0.1, lambda position: 0.1 if position >= 3 else 0.5)
    assert found is not None
    assert found.payload_bytes == 40 + 5000
    assert found.seconds == pytest.approx(0.3 + 10 / 100_000)
    assert coded.rates.payload_kbps == pytest.approx(0.8 + 12000 * 8 / 1000 / 60)


def test_a_first_pass_with_references_is_measured_too(network: Lpips, footage: Footage) -> None:
    black = np.zeros((256, 256, 3), np.uint8)
    exact = shown_as(footage, {2: black, 7: footage.originals[7], 12: black, 17: black})
    assert "lpips_first_pass" not in Judge(network).figures(exact, Faces())
    twice = replace(exact, references=[Reference(5, 900), Reference(15, 900)])
    figures = Judge(network).figures(twice, Faces())
    shown = [metrics.lpips(network, footage.originals[at], black) for at in (12, 17)]
    assert figures["lpips_first_pass"] == pytest.approx(sum(shown) / 3)  # 2 came too early


def test_a_thin_link_takes_as_long_as_the_bytes_do(network: Lpips, footage: Footage) -> None:
    coded = Anchor("vp9").run(footage, 60)
    figures = Judge(network).figures(coded, Faces())
    start_s, thin_s = figures["startup_s"], figures["startup_thin_s"]
    start_bytes = figures["startup_bytes"]
    assert start_s is not None
    assert thin_s is not None
    assert start_bytes is not None
    assert thin_s == pytest.approx(max(start_s, start_bytes * 8 / 1000 / 60))
    assert 0 < start_s <= len(footage.order) / 30
    assert all(value is None or math.isfinite(value) for value in figures.values())
