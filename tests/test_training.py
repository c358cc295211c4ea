"""Training: the cache, the batches, resuming, and a model folder at the end."""

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from gemino import media
from gemino.config import ModelConfig, Rung
from gemino.errors import GeminoError, MediaError, ModelError
from gemino.frames import prepare
from gemino.nn.model import build
from gemino.runtime import open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.training.clips import Sampler, Streams, build_all, draw_settings, list_clips
from gemino.training.degrade import Sequence, SequenceSettings, View, load_or_build
from gemino.training.losses import Losses, LossWeights
from gemino.training.program import TrainingOptions, run
from gemino.training.trainer import Report, Trainer, TrainingConfig
from gemino.zoo import find

ADDRESS = Path(__file__).parent.parent / "samples" / "address.mp4"
SIDE = 128
RUNGS = (Rung("vp8", 64, 8.0), Rung("av1", 128, 12.0))
STREAMS: Streams = {("vp8", 64): (0.5, (8.0,)), ("av1", 128): (0.5, (12.0,))}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of the shipped address, small."""
    path = tmp_path_factory.mktemp("clips") / "talk.mkv"
    with media.MovieWriter(path, SIDE, Fraction(25)) as movie:
        for timed in islice(media.read_frames(ADDRESS), 24):
            movie.write(prepare(timed.frame, SIDE), timed.time_s)
    return path


@pytest.fixture(scope="module")
def sequence(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    settings = SequenceSettings(SIDE, RUNGS, references=2)
    return load_or_build(clip, settings, tmp_path_factory.mktemp("cache"))


def trainer(sequence: Sequence, steps: int) -> Trainer:
    """One that is the same whenever it is made."""
    torch.manual_seed(0)
    losses = Losses(LossWeights(), 64, 64, load_lpips(), None)
    sampler = Sampler([sequence], batch=1, crop_px=64, seed=0, streams=STREAMS)
    config = TrainingConfig(steps, minutes=1e6, warmup_steps=1, bf16=False, validate_every=2)
    return Trainer(config, build(ModelConfig("test", "xs")), losses, sampler)


def ignore(_: object) -> None:
    """A report or a look that nobody reads."""


def test_a_sequence_holds_what_the_real_codec_delivers(sequence: Sequence) -> None:
    count = len(sequence.frames)
    assert sequence.frames.shape == (count, SIDE, SIDE, 3)
    assert sequence.references.shape == (2, SIDE, SIDE, 3)
    for rung in RUNGS:
        pictures, levels = sequence.lr[rung]
        assert pictures.shape == (count, rung.size_px, rung.size_px, 3)
        assert levels.shape == (count,)
        assert 2 < sequence.kbps[rung] < 40
    coarse, fine = (sequence.lr[rung][0] for rung in RUNGS)
    assert not np.array_equal(fine, sequence.frames)
    assert coarse.std() > 10  # a picture, not grey
    assert abs(float(sequence.activity.sum()) - 1) < 1e-3


def test_a_sequence_is_built_once_and_anew_when_the_settings_change(
    clip: Path, tmp_path: Path
) -> None:
    settings = SequenceSettings(SIDE, RUNGS[:1], references=2)
    load_or_build(clip, settings, tmp_path)
    (folder,) = tmp_path.iterdir()
    before = folder.stat().st_mtime_ns
    load_or_build(clip, settings, tmp_path)
    assert folder.stat().st_mtime_ns == before
    zoomed = SequenceSettings(SIDE, RUNGS[:1], View(0.7, 0.2, -0.1, (1.1, 1.0, 0.9)), 2)
    other = load_or_build(clip, zoomed, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert other.frames.shape[1:] == (SIDE, SIDE, 3)


def test_a_bad_clip_is_named_and_left_out(clip: Path, tmp_path: Path) -> None:
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(b"no video at all")
    settings = SequenceSettings(SIDE, RUNGS[:1], references=2)
    lines: list[str] = []
    jobs = [(bad, settings), (clip, settings)]
    sequences = build_all(jobs, tmp_path / "cache", 1, lines.append)
    assert [sequence.name for sequence in sequences] == ["talk"]
    assert any("broken.mp4" in line for line in lines)
    with pytest.raises(MediaError, match="no clip"):
        build_all(jobs[:1], tmp_path / "cache", 1, lines.append)


def test_an_empty_or_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no clips"):
        list_clips(tmp_path)
    with pytest.raises(MediaError, match="not a folder"):
        list_clips(tmp_path / "none")


def test_drawn_rungs_cover_every_size_and_depend_on_the_seed_alone() -> None:
    drawn = [draw_settings(512, 1, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    streams = {(rung.codec, rung.size_px) for rung in drawn[0].rungs}
    assert streams == {(codec, px) for codec in ("vp8", "av1") for px in (64, 128, 192, 256)}


def test_batches_follow_from_seed_step_and_worker(sequence: Sequence) -> None:
    samplers = [Sampler([sequence], 2, 64, 3, rank, STREAMS) for rank in (0, 0, 1)]
    first, same, other = (sampler.draw(7) for sampler in samplers)
    assert torch.equal(first.target, same.target)
    assert first.crops == same.crops
    assert not torch.equal(first.rung, other.rung) or not torch.equal(first.target, other.target)
    assert not torch.equal(first.target, samplers[0].draw(8).target)


def test_a_resumed_training_ends_with_the_very_same_weights(
    sequence: Sequence, tmp_path: Path
) -> None:
    whole = trainer(sequence, steps=4)
    reports: list[Report] = []
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole.run(tmp_path / "whole", reports.append, ignore, [], load_lpips())
    assert [report.step for report in reports] == [1, 2, 3, 4]

    def stop_after_two(report: Report) -> None:
        if report.step == 2:
            raise KeyboardInterrupt

    interrupted = trainer(sequence, steps=4)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(tmp_path / "parts", stop_after_two, ignore, [], load_lpips())
    resumed = trainer(sequence, steps=4)
    assert resumed.resume(tmp_path / "parts")
    resumed.run(tmp_path / "parts", ignore, ignore, [], load_lpips())
    assert resumed.clock.step == 4
    for name, x in whole.average.weights.items():
        assert torch.equal(x, resumed.average.weights[name]), name


def test_a_damaged_checkpoint_is_named(sequence: Sequence, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        trainer(sequence, steps=1).resume(tmp_path)


def test_training_makes_a_model_that_runs(clip: Path, tmp_path: Path) -> None:
    options = TrainingOptions(
        clips=clip.parent,
        name="tiny",
        validation=clip.parent,
        size="xs",
        steps=2,
        batch=1,
        output_px=256,
        crop_px=64,
        views=1,
        cache=tmp_path / "cache",
        runs=tmp_path / "runs",
        models=tmp_path / "models",
        validate_every=1,
        device="cpu",
    )
    folder = run(options, "clips --name tiny", Console(quiet=True))
    files = find(folder)
    assert files.facts["steps"] == 2
    assert "gemino train clips --name tiny" in (folder / "card.md").read_text()
    assert (tmp_path / "runs" / "tiny" / "validation.jsonl").read_text().count("\n") == 2
    golden = np.load(folder / "golden.npz", allow_pickle=False)
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    synthesizer.set_reference(golden["reference"])
    again = synthesizer.synthesize(golden["lr"], float(golden["log2_bits_per_pixel"]))
    assert np.abs(again.astype(int) - golden["output"]).max() <= 1
    # A finished training is not trained on: the same command writes the same model again.
    before = (folder / "model.safetensors").read_bytes()
    run(options, "clips --name tiny", Console(quiet=True))
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_training_can_begin_with_a_finished_model(sequence: Sequence) -> None:
    files = find("generic-s")
    begun = trainer(sequence, steps=1)
    with pytest.raises(ModelError, match="size xs"):
        begun.start_from(files)
    config = TrainingConfig(1, minutes=1.0, bf16=False)
    losses = Losses(LossWeights(), 64, 64, load_lpips(), None)
    sampler = Sampler([sequence], 1, 64, 0)
    begun = Trainer(config, build(ModelConfig("test", "s")), losses, sampler)
    begun.start_from(files)
    shipped = load_file(files.weights_path)
    assert all(torch.equal(shipped[name], x) for name, x in begun.average.weights.items())


def test_a_device_that_is_not_there_is_an_error(clip: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    options = TrainingOptions(clip.parent, "x", device="cuda", cache=tmp_path)
    with pytest.raises(GeminoError, match="CUDA"):
        run(options, "", Console(quiet=True))


def test_the_shipped_model_gives_its_golden_picture() -> None:
    files = find("generic-s")
    golden = np.load(files.path / "golden.npz", allow_pickle=False)
    level = float(golden["log2_bits_per_pixel"])
    exact = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    exact.set_reference(golden["reference"])
    difference = np.abs(exact.synthesize(golden["lr"], level).astype(int) - golden["output"])
    assert difference.max() <= 2
    fast = open_synthesizer("generic-s", 256)
    fast.set_reference(golden["reference"])
    difference = np.abs(fast.synthesize(golden["lr"], level).astype(int) - golden["output"])
    assert difference.mean() < 1.5  # bfloat16 keeps eight bits
