"""Clips that nobody would choose, through the commands and the shipped model."""

import contextlib
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from gemino.cli.main import main
from gemino.config import EncoderConfig, ladder, reference_budget_bytes, reference_kbps
from gemino.container import PictureRecord, Record, ReferenceRecord, read_header, read_records
from gemino.decoder import Decoder
from gemino.encoder import Encoder
from gemino.evaluation import results
from gemino.frames import Frame, prepare, resize
from gemino.media import MovieWriter, read_frames
from gemino.nn.lpips import Lpips
from gemino.nn.pictures import to_tensor
from gemino.runtime import open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.video.lr import LrDecoder
from gemino.zoo import DEFAULT_MODEL
from training_clips import ADDRESS, SIDE, WEBCAM, portrait, write_portrait, write_still, write_talk

PX, CALL_PX = 256, 512
FPS = 25
KBPS = 25.0
CUT, BACK, END = 56, 72, 76
"""Frames of the joined clip: one person to `CUT`, another to `BACK`, the first again to `END`."""
DELAY = 8
"""Frames that a reference is under way."""
UNTIL = (CUT, CUT + 1, CUT + 2, CUT + 4, CUT + DELAY - 1)
THEN = (CUT + DELAY, BACK - 1, BACK, BACK + 1, END - 1)

pytestmark = pytest.mark.timeout(300)


def gemino(*words: object) -> tuple[int, str]:
    """Run a command here; its exit code and what it said on standard error."""
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        patch.setattr(sys, "argv", ["gemino", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), said.getvalue()


def write(path: Path, frames: Iterable[Frame], fps: int = FPS) -> Path:
    """`frames` of one size as a lossless clip."""
    with MovieWriter(path, PX, Fraction(fps)) as movie:
        for at, frame in enumerate(frames):
            movie.write(frame, at / fps)
    return path


def recoded(clip: Path, folder: Path, *options: object, model: str = DEFAULT_MODEL) -> list[Frame]:
    """The clip through `gemino encode` and `gemino decode`."""
    gem, movie = folder / "clip.gem", folder / "shown.mkv"
    how = ("--size", PX, "--model", model)
    assert gemino("encode", clip, "-o", gem, *how, *options) == (0, "")
    assert gemino("decode", gem, "-o", movie, "--model", model) == (0, "")
    return [timed.frame for timed in read_frames(movie)]


def records(gem: Path) -> list[Record]:
    """Everything in a .gem file."""
    with gem.open("rb") as file:
        return list(read_records(file, read_header(file).codec))


def apart(a: Frame, b: Frame) -> float:
    """Mean absolute difference in levels."""
    return float(np.abs(a.astype(int) - b).mean())


@pytest.fixture(scope="module")
def network() -> Lpips:
    return load_lpips()


@pytest.fixture(scope="module")
def large() -> list[Frame]:
    """One person, cut to another, and back, at 512 px."""
    first, second = (
        [prepare(timed.frame, CALL_PX) for timed in islice(read_frames(clip), END)]
        for clip in (WEBCAM, ADDRESS)
    )
    return [*first[:CUT], *second[: BACK - CUT], *first[CUT : CUT + END - BACK]]


@pytest.fixture(scope="module")
def joined(large: list[Frame]) -> list[Frame]:
    """The same at 256 px."""
    return [resize(frame, PX) for frame in large]


@dataclass(frozen=True)
class Played:
    """sent: where references were. frames: what is shown at some places, and the LR picture
    upsampled."""

    sent: list[int]
    frames: dict[int, tuple[Frame, Frame]]


@pytest.fixture(scope="module")
def played(large: list[Frame]) -> Played:
    """The joined clip over a link as a call's, on which a reference takes its time."""
    share = reference_kbps(KBPS, CALL_PX)
    config = EncoderConfig(
        output_px=CALL_PX,
        rung=ladder(KBPS - share),
        fps=Fraction(FPS),
        reference_max_bytes=reference_budget_bytes(KBPS, CALL_PX),
        reference_kbps=share,
        foveate=True,
    )
    encoder, decoder = Encoder(config), Decoder(open_synthesizer(DEFAULT_MODEL, CALL_PX), "av1")
    sent: dict[int, bytes] = {}
    frames: dict[int, tuple[Frame, Frame]] = {}
    for at, source in enumerate(large):
        coded = encoder.encode(source, at / FPS)
        if coded.reference is not None:
            sent[at] = coded.reference
        if at - DELAY in sent:
            decoder.add_reference(sent[at - DELAY])
        picture = decoder.decode_lr(coded.lr, coded.index)
        assert picture is not None
        if at in (*UNTIL, *THEN):
            frames[at] = decoder.rebuild(picture).frame, resize(picture.frame, CALL_PX)
    return Played(list(sent), frames)


def test_a_cut_brings_a_reference_at_once(played: Played) -> None:
    assert CUT - 2 * FPS < played.sent[-2] < CUT  # of a pose, too near for another pose
    assert played.sent[-1] == CUT  # and the way back needs none


def test_until_it_is_there_the_gates_are_shut(
    played: Played, large: list[Frame], network: Lpips
) -> None:
    for at in UNTIL:
        shown, upsampled = played.frames[at]
        assert lpips(network, shown, large[at]) < lpips(network, upsampled, large[at])
        assert apart(shown, large[at]) < apart(shown, large[CUT - 1]) / 3


def test_then_all_is_sharp_and_on_the_way_back_too(
    played: Played, large: list[Frame], network: Lpips
) -> None:
    for at in THEN:
        shown, upsampled = played.frames[at]
        assert lpips(network, shown, large[at]) < lpips(network, upsampled, large[at]) / 2


def lpips(network: Lpips, shown: Frame, source: Frame) -> float:
    with torch.inference_mode():
        return float(network(*(to_tensor([x]) for x in (shown, source))))


def test_a_file_with_a_cut_shows_each_person_after_it(
    joined: list[Frame], tmp_path: Path, network: Lpips
) -> None:
    source = joined[CUT - 12 : CUT + 6]
    clip = write(tmp_path / "joined.mkv", source, fps=5)  # references keep two seconds' distance
    shown = recoded(clip, tmp_path, "--kbps", 25)
    gem, plain = tmp_path / "clip.gem", tmp_path / "plain.mkv"
    assert sum(isinstance(record, ReferenceRecord) for record in records(gem)) == 2
    assert gemino("decode", gem, "-o", plain, "--model", "none") == (0, "")
    upsampled = [timed.frame for timed in read_frames(plain)]
    for at in (0, 11, 12, 13, 17):
        other = source[17 if at < 12 else 0]
        assert apart(shown[at], source[at]) < apart(shown[at], other) / 4
        assert lpips(network, shown[at], source[at]) < lpips(network, upsampled[at], source[at])


@pytest.mark.parametrize("kind", ["rotated", "variable", "ten-bit", "full-range"])
def test_odd_footage_comes_out_upright_in_time_and_in_its_colours(
    tmp_path: Path, kind: str
) -> None:
    suffix = {"rotated": "mp4", "full-range": "mov"}.get(kind, "mkv")
    clip = write_portrait(tmp_path / f"phone.{suffix}", kind)
    shown = recoded(clip, tmp_path, "--kbps", 200, model="none")
    wanted = [prepare(portrait(at), PX) for at in range(24)]
    for mine, theirs in zip(shown, wanted, strict=True):
        assert apart(mine, theirs) < 5  # a mirror image or a quarter turn: 40 and more
        assert np.abs(mine.mean((0, 1)) - theirs.mean((0, 1))).max() < 4  # each colour's level
    times = [timed.time_s for timed in read_frames(tmp_path / "shown.mkv")]
    assert times == pytest.approx([timed.time_s for timed in read_frames(clip)], abs=0.0011)


def test_black_frames_stay_black_and_what_comes_after_is_shown(
    joined: list[Frame], tmp_path: Path
) -> None:
    black = [np.zeros((PX, PX, 3), np.uint8)] * 8
    clip = write(tmp_path / "black.mkv", [*black, *joined[:8], *black], fps=5)
    shown = recoded(clip, tmp_path, "--kbps", 20)
    for at in (0, 7, 17, 23):
        assert shown[at].mean() < 3
    assert apart(shown[15], joined[7]) < 12


def test_without_a_face_there_is_no_fovea(joined: list[Frame], tmp_path: Path) -> None:
    leaves = np.random.default_rng(3).integers(60, 200, (9, 9, 3), np.uint8)
    empty = [np.roll(resize(leaves, PX), at, axis=0) for at in range(8)]
    looks_closer = []
    for name, source in (("empty", empty), ("person", joined[:8])):
        clip, gem = write(tmp_path / f"{name}.mkv", source), tmp_path / f"{name}.gem"
        options = ("--size", PX, "--kbps", 40, "--model", "none", "--fovea")
        assert gemino("encode", clip, "-o", gem, *options) == (0, "")
        decoder = LrDecoder("av1")
        for record in records(gem):
            if isinstance(record, PictureRecord):
                decoder.decode(record.data)
                looks_closer.append(decoder.fovea is not None)
    assert looks_closer == [False] * 8 + [True] * 8


def test_odd_clips_are_evaluated_beside_good_ones(joined: list[Frame], tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    write(folder / "black.mkv", [np.zeros((PX, PX, 3), np.uint8)] * 8)
    write(folder / "cut.mkv", joined[CUT - 12 : CUT + 4], fps=5)
    (folder / "empty.mp4").touch()
    code, said = gemino(
        *("evaluate", folder, "--size", PX, "--kbps", 25, "--codecs", "gemino", "--every", 4),
        *("--model", "none", "--play-s", 0, "--json", tmp_path / "f.json"),
    )
    assert code == 2
    assert "1 of 3 points failed: empty 256 px" in said.splitlines()[-1]
    found = {point["clip"]: point for point in results.load(tmp_path / "f.json").points}
    assert found.keys() == {"black", "cut"}
    assert found["black"]["psnr_db"] > 40
    assert found["cut"]["references"] == 3  # a coarse one, a fine one, one of the new scene
    for point in found.values():
        assert "no --landmarks" in point["regions_missing"]  # why there are no figures of a face
        assert "lpips_mouth" not in point
        json.dumps(point, allow_nan=False)


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "{}", "--model", "none"),
        ("train", "{}", "--name", "x", "--dry-run"),
        ("demo", "--clips", "{}", "--out", "{}/out", "--model", "none"),
        ("encode", "{}", "-o", "{}/a.gem", "--model", "none"),
    ],
)
def test_an_empty_folder_is_one_line(tmp_path: Path, words: Sequence[str]) -> None:
    code, said = gemino(*(word.format(tmp_path) for word in words))
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert str(tmp_path) in said


def test_clips_that_cannot_be_trained_on_are_named(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    write_talk(clips / "talk.mkv", 12)
    write_still(clips / "black.mkv", np.zeros((SIDE, SIDE, 3), np.uint8))
    whole = ADDRESS.read_bytes()
    (clips / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    options = {"size": "xs", "output-px": SIDE, "crop-px": 64, "views": 1, "batch": 3}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    folders = [f"--{kind}={tmp_path / kind}" for kind in ("cache", "runs", "models")]
    code, said = gemino("train", clips, "--name", "x", "--dry-run", *words, *folders)
    assert code == 0
    assert "left out: black.mkv: " in said
    assert "left out: torn.mp4: " in said
    assert (tmp_path / "runs" / "x" / "batch.png").exists()
