"""Clips as people have them: odd ones are used upright and at the right levels, bad ones named."""

import os
from fractions import Fraction
from pathlib import Path, PosixPath

import numpy as np
import pytest
from numpy.typing import NDArray

from gemino import media
from gemino.config import Rung
from gemino.errors import MediaError
from gemino.frames import prepare, resize
from gemino.training.clips import Sampler, StreamKind, Streams
from gemino.training.degrade import load, load_or_build
from gemino.training.material import Material, find, gather, list_clips, remarks
from gemino.training.sequence import SequenceSettings
from training_clips import (
    ADDRESS,
    SIDE,
    WEBCAM,
    portrait,
    write_portrait,
    write_still,
    write_talk,
)

SETTINGS = SequenceSettings(SIDE, (Rung("av1", 64, 30.0),), references=2)
STREAMS: Streams = {StreamKind("av1", 64): (1.0, (30.0,))}


def error(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean absolute difference, in levels."""
    return float(np.abs(first.astype(int) - second).mean())


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("rotated", "mp4"), ("variable", "mkv"), ("ten-bit", "mkv"), ("full-range", "mov")],
)
def test_odd_footage_is_upright_and_at_the_right_levels(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    clip = write_portrait(tmp_path / f"phone.{suffix}", kind)
    sequence = load_or_build(clip, SETTINGS, tmp_path / "cache")
    assert len(sequence.frames) == 8  # of 24, at 25 a second
    for at, frame in enumerate(sequence.frames):
        wanted = prepare(portrait(3 * at), SIDE)
        assert error(frame, wanted) < 3.0
        assert abs(float(frame.mean()) - float(wanted.mean())) < 2.0
        pictures, _ = sequence.lr[SETTINGS.rungs[0]]
        assert error(pictures[at], resize(wanted, 64)) < 8.0
    assert error(sequence.references[0], prepare(portrait(0), SIDE)) < 5.0


def test_a_cut_in_mid_clip_shows_each_person_after_it(tmp_path: Path) -> None:
    clip = write_talk(tmp_path / "joined.mkv", 12, (WEBCAM, ADDRESS))
    sequence = load_or_build(clip, SETTINGS, tmp_path / "cache")
    pictures, levels = sequence.lr[SETTINGS.rungs[0]]
    before, after = (resize(sequence.frames[at], 64) for at in (0, -1))
    for at, picture in enumerate(pictures):
        own, other = (before, after) if at < 4 else (after, before)
        assert error(picture, own) < error(picture, other) / 2
    assert levels[4] > levels[3]  # the cut costs bits, and the network is told
    assert error(sequence.references[0], sequence.references[1]) > 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as it is found: one good clip, and others."""
    clips = tmp_path_factory.mktemp("clips")
    write_talk(clips / "talk.mkv")
    (clips / "junk.mp4").write_bytes(b"no video at all")
    (clips / "notes.txt").write_text("not a clip")
    write_still(clips / "black.mkv", np.zeros((SIDE, SIDE, 3), np.uint8))
    write_talk(clips / "short.mkv", 2)
    whole = ADDRESS.read_bytes()
    (clips / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    with media.MovieWriter(clips / "wide.mkv", (160, 96), Fraction(25)) as movie:
        for at in range(24):
            movie.write(np.ascontiguousarray(portrait(at).transpose(1, 0, 2)), at / 25)
    return clips


@pytest.fixture(scope="module")
def gathered(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Material, list[str]]:
    """What becomes of the folder, and what was said on the way."""
    lines: list[str | None] = []
    jobs = [(clip, SETTINGS) for clip in list_clips(folder)]
    cache = tmp_path_factory.mktemp("cache")
    material = gather(jobs, cache, 2, lines.append)
    assert len(lines) == len(jobs) == 6
    assert [sequence.name for sequence in find(jobs, cache)] == ["talk", "wide"]
    return material, [line for line in lines if line is not None]


def test_bad_clips_are_named_with_the_reason_and_left_out(
    gathered: tuple[Material, list[str]], folder: Path
) -> None:
    material, lines = gathered
    assert [sequence.name for sequence in material.sequences] == ["talk", "wide"]
    assert sorted(material.left_out) == ["black.mkv", "junk.mp4", "short.mkv", "torn.mp4"]
    assert "black or of one colour" in material.left_out["black.mkv"]
    assert "cannot be read as video" in material.left_out["junk.mp4"]
    assert "has 2 pictures" in material.left_out["short.mkv"]
    for name, why in material.left_out.items():
        assert f"left out: {name}: {why}" in lines
        assert str(folder) not in why


def test_clips_that_do_not_fit_are_told_of(folder: Path) -> None:
    clips = list_clips(folder)
    cropped, enlarged = remarks(clips, SIDE)
    assert cropped == "not square, the middle is used: wide.mkv (160x96)"
    assert "wide.mkv (160x96)" in enlarged
    assert "talk" not in enlarged
    (cropped,) = remarks([folder / "wide.mkv"] * 11, 64)
    assert cropped.endswith("and 3 more")


def test_nothing_usable_is_an_error_that_names_a_clip(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no clip could be used.*junk\.mp4"):
        gather([(folder / "junk.mp4", SETTINGS)], tmp_path, 1, lambda _: None)


def test_an_empty_or_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no clips"):
        list_clips(tmp_path)
    with pytest.raises(MediaError, match="not a folder"):
        list_clips(tmp_path / "none")


class Fatal(PosixPath):
    """The path of a clip that brings down the process that is handed it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


def test_a_clip_that_kills_its_process_costs_no_other(folder: Path, tmp_path: Path) -> None:
    jobs = [(Fatal(folder / "wide.mkv"), SETTINGS), (folder / "talk.mkv", SETTINGS)]
    material = gather(jobs, tmp_path, 1, lambda _: None)
    assert [sequence.name for sequence in material.sequences] == ["talk"]
    assert "crashes" in material.left_out["wide.mkv"]


def test_a_still_clip_and_a_black_middle_give_finite_batches(tmp_path: Path) -> None:
    """No motion to look at, no sharpness to weigh by: neither may make numbers of nothing."""
    frame = next(media.read_frames(ADDRESS)).frame
    still = load_or_build(write_still(tmp_path / "still.mkv", frame), SETTINGS, tmp_path)
    assert float(still.activity.sum()) == 0
    blink = tmp_path / "blink.mkv"
    with media.MovieWriter(blink, SIDE, Fraction(25)) as movie:
        for at in range(24):
            movie.write(prepare(portrait(at), SIDE) * np.uint8(at != 12), at / 25)
    dark = load_or_build(blink, SETTINGS, tmp_path)
    assert dark.sharpness == 0
    for sequence in (still, dark):
        batch = Sampler([sequence], 8, 64, seed=0, streams=STREAMS).draw(0)
        assert bool(batch.weight.isfinite().all())
        assert all(0 <= at <= SIDE - side for *place, side in batch.crops for at in place)


def test_a_slideshow_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "slides.mkv"
    with media.MovieWriter(path, SIDE, Fraction(1, 4)) as movie:
        for at in range(3):
            movie.write(prepare(portrait(at), SIDE), at * 4.0)
    with pytest.raises(MediaError, match=r"slides\.mkv.*no video"):
        load_or_build(path, SETTINGS, tmp_path / "cache")
    assert load(path, SETTINGS, tmp_path / "cache") is None
