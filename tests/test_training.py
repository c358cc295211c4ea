"""Training: the cache, the batches, stopping and going on, and a model folder at the end."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from gemino.config import ModelConfig, NetworkSize, Sampling
from gemino.errors import GeminoError, ModelError
from gemino.nn.blocks import resize
from gemino.nn.model import build
from gemino.runtime import open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.training.checkpoint import Clock
from gemino.training.clips import Sampler, StreamKind, Streams, draw_settings
from gemino.training.degrade import load_or_build
from gemino.training.interrupts import on_interrupt
from gemino.training.logbook import Logbook
from gemino.training.losses import Losses, LossWeights
from gemino.training.program import TrainingOptions, run
from gemino.training.sequence import Sequence, SequenceSettings, View
from gemino.training.trainer import Report, Trainer, TrainingConfig
from gemino.zoo import find
from training_clips import RUNGS, SIDE, write_talk

STREAMS: Streams = {
    StreamKind("vp8", 64): (0.4, (8.0,)),
    StreamKind("av1", 128): (0.3, (12.0,)),
    StreamKind("av1", 128, foveated=True): (0.3, (12.0,)),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of the shipped address, small."""
    return write_talk(tmp_path_factory.mktemp("clips") / "talk.mkv")


@pytest.fixture(scope="module")
def sequence(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    settings = SequenceSettings(SIDE, RUNGS, RUNGS[1:], references=2)
    return load_or_build(clip, settings, tmp_path_factory.mktemp("cache"))


def trainer(sequence: Sequence, steps: int, batch: int = 1, parts: int = 1) -> Trainer:
    """One that is the same whenever it is made."""
    torch.manual_seed(0)
    losses = Losses(LossWeights(), 64, 64, load_lpips(), None)
    sampler = Sampler([sequence], batch, crop_px=64, seed=0, parts=parts, streams=STREAMS)
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
    zoomed = SequenceSettings(
        SIDE, RUNGS[:1], view=View(0.7, 0.2, -0.1, (1.1, 1.0, 0.9)), references=2
    )
    other = load_or_build(clip, zoomed, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert other.frames.shape[1:] == (SIDE, SIDE, 3)


def test_drawn_rungs_cover_every_size_and_depend_on_the_seed_alone() -> None:
    drawn = [draw_settings(512, 1, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    streams = {(rung.codec, rung.size_px) for rung in drawn[0].rungs}
    assert streams == {(codec, px) for codec in ("vp8", "av1") for px in (64, 128, 192, 256)}


def test_batches_follow_from_seed_step_and_worker(sequence: Sequence) -> None:
    samplers = [Sampler([sequence], 2, 64, 3, rank, streams=STREAMS) for rank in (0, 0, 1)]
    first, same, other = (sampler.draw(7) for sampler in samplers)
    assert torch.equal(first.target, same.target)
    assert first.crops == same.crops
    assert not torch.equal(first.rung, other.rung) or not torch.equal(first.target, other.target)
    assert not torch.equal(first.target, samplers[0].draw(8).target)


def test_examples_are_the_same_however_they_are_shared_out(sequence: Sequence) -> None:
    whole = Sampler([sequence], 4, 64, 3, streams=STREAMS).draw(7)
    parts = Sampler([sequence], 2, 64, 3, parts=2, streams=STREAMS)
    workers = [Sampler([sequence], 1, 64, 3, rank, 2, STREAMS) for rank in (0, 1)]
    for shared in (
        [parts.draw(7, part) for part in (0, 1)],
        [worker.draw(7, part) for worker in workers for part in (0, 1)],
    ):
        assert torch.equal(whole.target, torch.cat([batch.target for batch in shared]))
        assert torch.equal(whole.reference, torch.cat([batch.reference for batch in shared]))
        assert torch.equal(whole.lr, torch.cat([batch.lr for batch in shared]))
        assert whole.crops == [crop for batch in shared for crop in batch.crops]


def test_an_lr_stream_meets_every_clip(sequence: Sequence) -> None:
    """What decides a step's stream must not decide its first example's clip too."""
    many = [sequence] * 50
    sampler = Sampler(many, 1, 64, 0, streams=STREAMS)
    sampler._weights = np.arange(50.0)  # tells which clip an example is from
    seen: dict[int, list[float]] = {64: [], 128: [], 256: []}
    for step in range(90):
        batch = sampler.draw(step)
        seen[batch.lr.shape[-1]].append(float(batch.weight[0]))
    for clips in seen.values():
        assert min(clips) < 20
        assert max(clips) > 30


def test_foveated_examples_are_straightened_and_their_references_seen_alike(
    sequence: Sequence,
) -> None:
    """At the face a foveated LR picture is closer to the target than an even one."""
    assert sequence.face is not None
    kinds = {kind: (1.0, rates) for kind, (_, rates) in STREAMS.items() if kind.codec == "av1"}
    errors = {}
    for kind, odds in kinds.items():
        batch = Sampler([sequence], 8, 64, 0, streams={kind: odds}).draw(0)
        side = batch.lr.shape[-1]
        assert side == kind.size_px * (2 if kind.foveated else 1)
        assert batch.reference_lr.shape == batch.lr.shape
        seen = resize(batch.target, side)
        errors[kind.foveated] = float((batch.lr - seen).abs().mean())
        reference = resize(batch.reference, side)
        assert float((batch.reference_lr - reference).abs().mean()) < 0.05
    assert max(errors.values()) < 0.1


def test_some_windows_lie_on_the_face_and_all_inside_the_picture(sequence: Sequence) -> None:
    crops = [
        crop
        for step in range(20)
        for crop in Sampler([sequence], 4, 64, 0, streams=STREAMS).draw(step).crops
    ]
    assert {side for *_, side in crops} == {32, 64}
    assert all(0 <= at <= SIDE - side for *place, side in crops for at in place)


def test_accumulated_parts_step_as_one_larger_batch_does(
    sequence: Sequence, tmp_path: Path
) -> None:
    reports: list[list[Report]] = [[], []]
    gradients = []
    for kind, (batch, parts) in enumerate(((2, 1), (1, 2))):
        learner = trainer(sequence, 1, batch, parts)
        learner.run(tmp_path, reports[kind].append, ignore, [], load_lpips())
        moments = [learner.optimizer.state[x]["exp_avg"] for x in learner.model.parameters()]
        gradients.append(torch.cat([x.flatten() for x in moments]))
    (large,), (summed,) = reports
    # Before it is clipped: a sum instead of a mean would be twice as long.
    assert summed.terms == pytest.approx(large.terms, rel=1e-4)
    assert float((gradients[0] - gradients[1]).norm()) < 1e-4 * float(gradients[0].norm())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step_and_a_resumed_training_ends_with_the_same_weights(
    sequence: Sequence, tmp_path: Path, number: signal.Signals
) -> None:
    whole = trainer(sequence, steps=4)
    reports: list[Report] = []
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole.run(tmp_path / "whole", reports.append, ignore, [], load_lpips())
    assert [report.step for report in reports] == [1, 2, 3, 4]

    def signal_after_two(report: Report) -> None:
        if report.step == 2:
            signal.raise_signal(number)

    former = signal.getsignal(number)
    interrupted = trainer(sequence, steps=4)
    with pytest.raises(KeyboardInterrupt), on_interrupt(interrupted.stop):
        interrupted.run(tmp_path / "parts", signal_after_two, ignore, [], load_lpips())
    assert signal.getsignal(number) == former
    assert interrupted.clock.step == 3  # the one under way
    resumed = trainer(sequence, steps=4)
    assert resumed.resume(tmp_path / "parts")
    resumed.run(tmp_path / "parts", ignore, ignore, [], load_lpips())
    assert resumed.clock.step == 4
    for name, x in whole.average.weights.items():
        assert torch.equal(x, resumed.average.weights[name]), name


def test_a_step_broken_off_half_way_is_not_saved(
    sequence: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = trainer(sequence, steps=4)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def break_the_next(report: Report) -> None:
        if report.step == 2:
            broken.save(tmp_path)
            monkeypatch.setattr(broken.average, "update", interrupt)

    with pytest.raises(KeyboardInterrupt):
        broken.run(tmp_path, break_the_next, ignore, [], load_lpips())
    resumed = trainer(sequence, steps=4)
    resumed.resume(tmp_path)
    assert resumed.clock.step == 2
    for name, x in resumed.model.state_dict().items():
        assert not torch.equal(x, broken.model.state_dict()[name]), name
        break


def test_looks_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """A training that was killed walks again where it walked before; its curve must not."""
    path = tmp_path / "validation.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n[1]\n{"ste')
    Logbook(tmp_path, Clock(step=4), Console(quiet=True)).__exit__(None, None, None)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'


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
    synthesizer.add_reference(golden["reference"])
    again = synthesizer.synthesize(
        golden["lr"], Sampling(golden["lr"].shape[0]), float(golden["log2_bits_per_pixel"])
    )
    assert np.abs(again.astype(int) - golden["output"]).max() <= 1
    # A finished training is not trained on: the same command writes the same model again.
    before = (folder / "model.safetensors").read_bytes()
    run(options, "clips --name tiny", Console(quiet=True))
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_training_can_begin_with_a_finished_model(sequence: Sequence) -> None:
    files = find("generic-s")
    shipped = load_file(files.weights_path)
    begun = trainer(sequence, steps=1)
    untrained = {name: x.clone() for name, x in begun.average.weights.items()}
    begun.start_from(files)  # xs from s: what estimates motion is alike
    for name, x in begun.average.weights.items():
        expected = shipped if name.startswith("motion.") else untrained
        assert torch.equal(expected[name], x), name
    config = TrainingConfig(1, minutes=1.0, bf16=False)
    losses = Losses(LossWeights(), 64, 64, load_lpips(), None)
    sampler = Sampler([sequence], 1, 64, 0)
    begun = Trainer(config, build(ModelConfig("test", "s")), losses, sampler)
    begun.start_from(files)
    assert all(torch.equal(shipped[name], x) for name, x in begun.average.weights.items())


@pytest.mark.parametrize(("small", "large"), [("s", "l"), ("xs", "s"), ("xs", "l")])
def test_a_larger_network_begins_as_the_smaller_one(
    sequence: Sequence, small: NetworkSize, large: NetworkSize
) -> None:
    torch.manual_seed(0)
    files = find(f"generic-{small}")
    as_small, as_large = (build(ModelConfig("test", size)).eval() for size in (small, large))
    as_small.load_state_dict(load_file(files.weights_path))
    losses = Losses(LossWeights(), 64, 64, load_lpips(), None)
    config = TrainingConfig(1, minutes=1.0, bf16=False)
    begun = Trainer(config, as_large, losses, Sampler([sequence], 1, 64, 0))
    begun.start_from(files)
    reference, lr = torch.rand(1, 3, 256, 256), torch.rand(1, 3, 64, 64)
    rung = torch.tensor([[0.3, 0.6]])
    with torch.no_grad():
        drawn = [
            network(network.encode_reference(reference, lr), lr, rung)
            for network in (as_small, as_large)
        ]
    torch.testing.assert_close(drawn[0], drawn[1], atol=1e-4, rtol=0)
    grown = as_large.generator.fuse8.weight.shape
    assert grown[1] > as_small.generator.fuse8.weight.shape[1]


def test_a_training_does_not_begin_with_weights_that_do_not_fit(
    sequence: Sequence, tmp_path: Path
) -> None:
    files = find("generic-s")
    strange = tmp_path / "model.safetensors"
    save_file({"motion.level16.bias": torch.zeros(3)}, strange)
    with pytest.raises(ModelError, match="size s"):
        trainer(sequence, steps=1).start_from(replace(files, weights_path=strange))


def test_a_device_that_is_not_there_is_an_error(clip: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    options = TrainingOptions(clip.parent, "x", device="cuda", cache=tmp_path)
    with pytest.raises(GeminoError, match="CUDA"):
        run(options, "", Console(quiet=True))


@pytest.mark.parametrize("name", ["generic-xs", "generic-s", "generic-l"])
def test_a_shipped_model_gives_its_golden_picture(name: str) -> None:
    files = find(name)
    golden = np.load(files.path / "golden.npz", allow_pickle=False)
    level = float(golden["log2_bits_per_pixel"])
    exact = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    exact.add_reference(golden["reference"])
    difference = np.abs(
        exact.synthesize(golden["lr"], Sampling(golden["lr"].shape[0]), level).astype(int)
        - golden["output"]
    )
    assert difference.max() <= 2
    fast = open_synthesizer(name, 256)
    fast.add_reference(golden["reference"])
    difference = np.abs(
        fast.synthesize(golden["lr"], Sampling(golden["lr"].shape[0]), level).astype(int)
        - golden["output"]
    )
    assert difference.mean() < 1.5  # bfloat16 keeps eight bits
