"""A model at work: right shapes, the reference encoded once, and clear refusals."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gemino.config import REFERENCES_HELD, ModelConfig, Sampling
from gemino.errors import ModelError, RuntimeUnavailable
from gemino.frames import Frame, resize
from gemino.nn.generator import ReferenceFeatures
from gemino.nn.model import build, rung_vector
from gemino.nn.pictures import to_tensor
from gemino.runtime import ClassicalSynthesizer, Drawing, open_synthesizer
from gemino.runtime.base import Precision
from gemino.runtime.fullscale import Bands, Detail
from gemino.runtime.neural import NeuralSynthesizer
from gemino.runtime.programs import OnDevice, record
from gemino.runtime.torch_runtime import TorchSynthesizer, load_network
from gemino.zoo import ModelFiles, write_config
from tiny_model import write_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def picture(size_px: int, seed: int = 0) -> Frame:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return resize(coarse, size_px)


def test_without_a_model_pictures_are_upsampled() -> None:
    synthesizer = open_synthesizer(None, 512)
    synthesizer.add_reference(picture(512))
    assert isinstance(synthesizer, ClassicalSynthesizer)
    assert (synthesizer.name, synthesizer.neural) == ("classical", False)
    assert np.array_equal(
        synthesizer.synthesize(picture(128), Sampling(128), -5.0), resize(picture(128), 512)
    )


def test_a_runtime_that_does_not_draw_cannot_be_opened() -> None:
    with pytest.raises(TypeError, match="abstract"):
        NeuralSynthesizer(256, (Drawing("tiny", 256),))  # type: ignore[abstract]  # the point


def test_before_the_first_reference_pictures_are_upsampled(files: ModelFiles) -> None:
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    neural = [synthesizer.neural]
    assert np.array_equal(
        synthesizer.synthesize(picture(128), Sampling(128), -5.0), resize(picture(128), 256)
    )
    synthesizer.add_reference(picture(256))
    neural.append(synthesizer.neural)
    synthesizer.forget_references()
    neural.append(synthesizer.neural)
    assert neural == [False, True, False]


def test_the_network_gets_what_it_was_trained_on(files: ModelFiles) -> None:
    """The same picture as by calling the network by hand, to the last rounding."""
    reference, lr = picture(256, 1), np.roll(picture(128, 1), 3, axis=1)
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    synthesizer.add_reference(reference)
    shown = synthesizer.synthesize(lr, Sampling(128), -4.0)

    def tensor(frame: Frame) -> torch.Tensor:
        return torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255

    model = build(files.config)
    model.load_state_dict(synthesizer._models["tiny"].state_dict())
    with torch.inference_mode():
        features = model.encode_reference(tensor(reference), tensor(resize(reference, 128)))
        wanted = model.synthesize(features, tensor(lr), torch.tensor([rung_vector(128, -4.0, 256)]))
    expected = (wanted[0].permute(1, 2, 0) * 255).round().numpy()
    assert shown.dtype == np.uint8
    assert np.abs(shown - expected).max() <= 1
    assert np.abs(shown.astype(float) - resize(lr, 256)).mean() > 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_behind_a_cut_nothing_is_shown_of_the_scene_before(
    files: ModelFiles, precision: Precision
) -> None:
    lr, shown = picture(128, 2), []
    for seed in (1, 3):
        synthesizer = TorchSynthesizer(files, 256, device="cpu", precision=precision)
        synthesizer.add_reference(picture(256, seed))
        before = synthesizer.synthesize(lr, Sampling(128), -4.0)
        for seen in (picture(128, seed), lr):
            synthesizer.watch(seen)
        shown.append(synthesizer.synthesize(lr, Sampling(128), -4.0))
        assert not np.array_equal(shown[-1], before)  # without a cut the reference is trusted
    assert np.array_equal(shown[0], shown[1])
    synthesizer.add_reference(picture(256, 2))
    assert not np.array_equal(synthesizer.synthesize(lr, Sampling(128), -4.0), shown[0])


def test_a_reference_that_fits_the_scene_is_trusted_as_it_changes(files: ModelFiles) -> None:
    """A head that comes close is as unlike as another scene, but no cut lies between."""
    here, there = picture(128, 1).astype(float), picture(128, 2).astype(float)
    path = [(here + (there - here) * step / 8).astype(np.uint8) for step in range(9)]
    alone, both = (
        TorchSynthesizer(files, 256, device="cpu", precision="float32") for _ in range(2)
    )
    for synthesizer in (alone, both):
        synthesizer.add_reference(picture(256, 1))
    for lr in (path[-1], path[0], *path):  # a cut to the scene, and a walk away in it
        both.watch(lr)
    shown = [s.synthesize(path[-1], Sampling(128), -4.0) for s in (alone, both)]
    assert np.array_equal(shown[0], shown[1])


def test_a_cut_lacks_a_reference_until_one_of_the_new_scene_is_there(files: ModelFiles) -> None:
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    lacking = []
    # The first cut comes before there is any reference.
    for seed, reference in ((1, 0), (2, 0), (2, 2), (3, 0), (3, 3)):
        if reference:
            synthesizer.add_reference(picture(256, reference))
        synthesizer.watch(picture(128, seed))
        lacking.append(synthesizer.lacking)
    assert lacking == [False, True, False, True, False]
    assert not ClassicalSynthesizer(256).lacking


def test_both_number_formats_agree(files: ModelFiles) -> None:
    pictures = []
    for precision in ("float32", "bfloat16"):
        synthesizer = TorchSynthesizer(files, 256, device="cpu", precision=precision)
        synthesizer.add_reference(picture(256, 1))
        pictures.append(synthesizer.synthesize(picture(128, 1), Sampling(128), -5.0).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1.5


def test_a_reference_is_encoded_once_for_each_lr_size(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    sizes: list[int] = []
    encode = synthesizer._models["tiny"].encode_reference

    def counted(reference: torch.Tensor, lr: torch.Tensor) -> ReferenceFeatures:
        sizes.append(lr.shape[-1])
        features: ReferenceFeatures = encode(reference, lr)
        return features

    monkeypatch.setattr(synthesizer._models["tiny"], "encode_reference", counted)
    synthesizer.add_reference(picture(256))
    for lr_px in (128, 128, 64, 128, 64):
        synthesizer.synthesize(picture(lr_px), Sampling(lr_px), -5.0)
    assert sizes == [128, 64]
    synthesizer.add_reference(picture(256, 1))  # made ready at once, for the size in use
    assert sizes == [128, 64, 64]
    synthesizer.synthesize(picture(64, 1), Sampling(64), -5.0)
    assert sizes == [128, 64, 64]


def test_memory_stays_bounded_whatever_a_peer_sends(files: ModelFiles) -> None:
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    for seed in range(REFERENCES_HELD + 3):
        synthesizer.add_reference(picture(256, seed))
        for lr_px in (64, 80, 96):
            synthesizer.synthesize(picture(lr_px, seed), Sampling(lr_px), -5.0)
    assert len(synthesizer._holding) == REFERENCES_HELD
    assert len(synthesizer._holding._ready) <= 2 * REFERENCES_HELD


def test_a_finer_coding_of_a_reference_takes_its_place(files: ModelFiles) -> None:
    fine = picture(256, 1)
    coarse = resize(resize(fine, 64), 256)
    alone = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    alone.add_reference(fine)
    both = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    both.add_reference(picture(256, 2))
    both.add_reference(coarse)
    small, sampling = picture(128, 1), Sampling(128)
    before = both.synthesize(small, sampling, -5.0)
    both.add_reference(fine)
    assert len(both._holding) == 2
    after = both.synthesize(small, sampling, -5.0)
    assert np.array_equal(after, alone.synthesize(small, sampling, -5.0))
    assert not np.array_equal(after, before)


def test_each_picture_takes_its_detail_from_the_likest_reference(files: ModelFiles) -> None:
    alone = []
    for seed in (1, 2):
        synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
        synthesizer.add_reference(picture(256, seed))
        alone.append(synthesizer.synthesize(picture(128, seed), Sampling(128), -5.0))
    both = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    both.add_reference(picture(256, 1))
    both.add_reference(picture(256, 2))
    for seed in (2, 1, 2):
        assert np.array_equal(
            both.synthesize(picture(128, seed), Sampling(128), -5.0), alone[seed - 1]
        )


@pytest.mark.parametrize("lr_px", [16, 61, 64, 144, 256, 512])
def test_any_lr_size_and_any_reference_size_give_a_picture(files: ModelFiles, lr_px: int) -> None:
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    synthesizer.add_reference(picture(320))
    assert synthesizer.synthesize(picture(lr_px), Sampling(lr_px), -3.0).shape == (256, 256, 3)


def test_the_faster_number_format_is_chosen_when_opened(files: ModelFiles) -> None:
    synthesizer = open_synthesizer(files.path, 256)
    assert isinstance(synthesizer, TorchSynthesizer)
    assert synthesizer.precision in ("bfloat16", "float32")
    assert synthesizer.name == "tiny"
    assert not synthesizer.neural  # the pictures it timed itself on are gone
    assert torch.get_num_threads() == 1


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(build(ModelConfig("other", "xs")).state_dict(), tmp_path / "model.safetensors")
    files = write_config(tmp_path, ModelConfig("other", "s"))
    with pytest.raises(ModelError, match="fetch the model again") as caught:
        open_synthesizer(files.path, 256)
    assert "\n" not in str(caught.value)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="are no weights"):
        TorchSynthesizer(write_config(tmp_path, ModelConfig("other", "s")), 256)


def test_a_missing_device_is_refused(files: ModelFiles) -> None:
    with pytest.raises(RuntimeUnavailable, match="unknown"):
        TorchSynthesizer(files, 256, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeUnavailable, match="no usable cuda"):
            TorchSynthesizer(files, 256, device="cuda")


@pytest.mark.parametrize("size_px", [100, 250, 2048])
def test_an_output_size_out_of_range_is_refused(files: ModelFiles, size_px: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        TorchSynthesizer(files, size_px)


def test_a_smaller_picture_is_drawn_and_enlarged(files: ModelFiles) -> None:
    """Once all references are ready for it; and back, from the references as they came."""
    synthesizer = TorchSynthesizer(files, 512, device="cpu", precision="float32")
    assert [drawing.size_px for drawing in synthesizer.drawings] == [512, 384, 256]
    assert {drawing.model for drawing in synthesizer.drawings} == {"tiny"}
    small = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    for seed in (1, 2):
        synthesizer.add_reference(picture(512, seed))
        small.add_reference(resize(picture(512, seed), 256))
    lr, sampling = picture(128, 2), Sampling(128)
    large = synthesizer.synthesize(lr, sampling, -5.0)
    synthesizer.draw_as(synthesizer.drawings[2])
    shown = synthesizer.synthesize(lr, sampling, -5.0)
    assert np.array_equal(shown, resize(small.synthesize(lr, sampling, -5.0), 512))
    synthesizer.draw_as(synthesizer.drawings[0])
    assert np.array_equal(synthesizer.synthesize(lr, sampling, -5.0), large)
    with pytest.raises(ValueError, match="is none of"):
        synthesizer.draw_as(Drawing("tiny", 300))


def test_a_lighter_model_draws_in_the_others_place(files: ModelFiles, tmp_path: Path) -> None:
    """From the same references, as it does alone."""
    torch.manual_seed(5)
    save_file(build(ModelConfig("light", "xs")).state_dict(), tmp_path / "model.safetensors")
    light = write_config(tmp_path, ModelConfig("light", "xs"))
    both = TorchSynthesizer(files, 256, lighter=light, device="cpu", precision="float32")
    assert [(each.model, each.size_px) for each in both.drawings] == [("tiny", 256), ("light", 256)]
    assert 0 < both.drawings[1].cost <= 1
    single = TorchSynthesizer(light, 256, device="cpu", precision="float32")
    own = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    lr, sampling = picture(128, 2), Sampling(128)
    for synthesizer in (both, single, own):
        synthesizer.add_reference(picture(256, 1))
    assert np.array_equal(both.synthesize(lr, sampling, -5.0), own.synthesize(lr, sampling, -5.0))
    both.draw_as(both.drawings[1])
    assert np.array_equal(
        both.synthesize(lr, sampling, -5.0), single.synthesize(lr, sampling, -5.0)
    )


def test_a_new_size_stalls_no_frame(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reference is encoded by `draw_at` itself, none by the frame that follows."""
    synthesizer = TorchSynthesizer(files, 512, device="cpu", precision="float32")
    for seed in (1, 2, 3):
        synthesizer.add_reference(picture(512, seed))
    synthesizer.synthesize(picture(128, 1), Sampling(128), -5.0)
    synthesizer.draw_as(synthesizer.drawings[2])
    encoded: list[object] = []
    monkeypatch.setattr(synthesizer._models["tiny"], "encode_reference", encoded.append)
    for seed in (1, 2, 3):
        synthesizer.synthesize(picture(128, seed), Sampling(128), -5.0)
    assert not encoded


def test_another_kind_of_small_picture_stalls_no_frame(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is expected is made ready beforehand, with references or before the first."""
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    first, second = Sampling(128), Sampling(64)
    assert synthesizer.ready(second)  # it would be upsampled
    synthesizer.expect(first)
    for seed in (1, 2):
        synthesizer.add_reference(picture(256, seed))
    assert synthesizer.ready(first)
    assert not synthesizer.ready(second)
    synthesizer.expect(second)
    assert synthesizer.ready(second)
    encoded: list[object] = []
    monkeypatch.setattr(synthesizer._models["tiny"], "encode_reference", encoded.append)
    for sampling in (first, second):
        for seed in (1, 2):
            synthesizer.synthesize(picture(sampling.size_px, seed), sampling, -5.0)
    assert not encoded


def test_the_program_for_gpus_draws_what_the_one_for_processors_draws(files: ModelFiles) -> None:
    """Run on a processor, where it launches its kernels one by one; its buffers are the same."""
    model = load_network(files)
    lr, told = picture(128, 2), torch.tensor([[0.3, 0.6, 1.0]])
    details = [Detail(picture(256, seed), picture(128, seed)) for seed in (1, 2)]
    with torch.inference_mode():
        both = [
            model.encode_reference(to_tensor([picture(256, seed)]), to_tensor([picture(128, seed)]))
            for seed in (1, 2)
        ]
        plain, staged = record(model, both[0], 128, Bands()), OnDevice(model, both[0], 128)
        for at in (1, 0):  # first the one that its buffers do not begin with
            wanted = plain(lr, told, plain.hold(both[at], details[at])).astype(int)
            shown = staged(lr, told, staged.hold(both[at], details[at]))
            assert np.abs(shown - wanted).max() <= 1
        assert np.array_equal(staged(lr, told, staged.hold(both[0], details[0])), shown)
        assert not np.shares_memory(shown, staged._picture_here.numpy())
        assert list(staged.parts(lr, told, staged.hold(both[0], details[0]))) == [
            "upload",
            "network",
            "download",
        ]


def test_two_threads_share_the_program_for_gpus(files: ModelFiles) -> None:
    model = load_network(files)
    references, told = [picture(256, 1), picture(256, 2)], torch.tensor([[0.3, 0.6, 1.0]])
    with torch.inference_mode():
        small = to_tensor([picture(128, 1)])
        encoded = [model.encode_reference(to_tensor([r]), small) for r in references]
        program = OnDevice(model, encoded[0], 128)
        details = [Detail(each, picture(128, 1)) for each in references]
        held = [program.hold(*each) for each in zip(encoded, details, strict=True)]

    def draw(number: int) -> Frame:
        with torch.inference_mode():
            return program(picture(128, number), told, held[number % 2])

    alone = [draw(number) for number in range(4)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(draw, [*range(4)] * 3))
    for number, shown in enumerate(together):
        assert np.array_equal(shown, alone[number % 4])


def test_nothing_is_kept_of_references_that_are_no_longer_held(files: ModelFiles) -> None:
    synthesizer = TorchSynthesizer(files, 256, device="cpu", precision="float32")
    synthesizer.expect(Sampling(128))
    for seed in range(2 * REFERENCES_HELD):
        synthesizer.add_reference(picture(256, seed))
        assert len(synthesizer._holding._ready) <= REFERENCES_HELD
    assert len(synthesizer._holding._ready) == REFERENCES_HELD
