"""Where a picture's detail comes from: what was copied from a reference, what the network drew."""

import numpy as np
import pytest
import torch

from gemino.config import Sampling
from gemino.frames import Frame, resize
from gemino.nn.pictures import to_tensor
from gemino.runtime.base import ClassicalSynthesizer
from gemino.runtime.fullscale import Bands, Detail
from gemino.runtime.origins import CELLS, origins
from gemino.runtime.programs import OnDevice, record
from gemino.runtime.torch_runtime import TorchSynthesizer, load_network
from gemino.zoo import ModelFiles, find

CPU = torch.device("cpu")
SIZE_PX = 256
LR = Sampling(128)


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    return find("generic-xs")  # a trained one: one that is not draws no residual


def picture(size_px: int, seed: int = 0) -> Frame:
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return resize(coarse, size_px)


def test_what_was_carried_and_what_was_drawn_are_told_apart_by_place() -> None:
    band = np.zeros((SIZE_PX, SIZE_PX, 3), np.float32)
    band[: SIZE_PX // 2, ::2] = -20
    band[: SIZE_PX // 2, 1::2] = 20
    blocks = np.full((SIZE_PX // 4, SIZE_PX // 4, 48), 9, np.float32)  # another colour, no detail
    blocks[:, SIZE_PX // 8 :, ::2] = 300
    blocks[:, SIZE_PX // 8 :, 1::2] = -300
    carried, drawn = np.moveaxis(origins(band, blocks), -1, 0)
    half = CELLS // 2
    assert np.all(carried[:half] == 20)
    assert not carried[half:].any()
    assert np.all(drawn[:, half:] == 255)
    assert not drawn[:, :half].any()


def test_explaining_a_picture_changes_nothing_of_it(files: ModelFiles) -> None:
    synthesizer = TorchSynthesizer(files, SIZE_PX, device="cpu", precision="float32")
    asked = picture(128, 1), LR, -4.0
    shown, told = synthesizer.explain(*asked)
    assert told is None  # before the first reference nothing is drawn
    assert np.array_equal(shown, resize(asked[0], SIZE_PX))
    synthesizer.add_reference(picture(SIZE_PX, 1))
    shown, told = synthesizer.explain(*asked)
    assert np.array_equal(shown, synthesizer.synthesize(*asked))
    assert told is not None
    assert told.shape == (CELLS, CELLS, 2)
    assert told.dtype == np.uint8
    assert (told > 0).any(axis=(0, 1)).all()


def test_behind_a_cut_nothing_is_carried_over(files: ModelFiles) -> None:
    """The reference shows another scene: its gates are shut."""
    synthesizer = TorchSynthesizer(files, SIZE_PX, device="cpu", precision="float32")
    here, there = np.full((128, 128, 3), 40, np.uint8), np.full((128, 128, 3), 220, np.uint8)
    synthesizer.add_reference(resize(here, SIZE_PX) + picture(SIZE_PX) // 8)
    for seen in (here, there):
        synthesizer.watch(seen)
    _, told = synthesizer.explain(there, LR, -4.0)
    assert told is not None
    assert not told[..., 0].any()


def test_enlarging_draws_nothing() -> None:
    synthesizer = ClassicalSynthesizer(SIZE_PX)
    synthesizer.add_reference(picture(SIZE_PX))
    shown, told = synthesizer.explain(picture(128), LR, -4.0)
    assert told is None
    assert shown.shape == (SIZE_PX, SIZE_PX, 3)


def test_the_program_for_gpus_tells_the_same(files: ModelFiles) -> None:
    """Run on a processor, where it launches its kernels one by one."""
    model, reference, lr = load_network(files), picture(SIZE_PX, 3), picture(128, 4)
    told, detail = torch.tensor([[0.3, 0.6, 1.0]]), Detail(reference, resize(reference, 128))
    with torch.inference_mode():
        features = model.encode_reference(to_tensor([reference]), to_tensor([detail.lr]))
        plain, staged = record(model, features, 128, Bands()), OnDevice(model, features, 128)
        shown, wanted = plain.explain(lr, told, plain.hold(features, detail))
        same, levels = staged.explain(lr, told, staged.hold(features, detail))
    assert np.abs(shown.astype(int) - same).max() <= 1
    # The residual is taken from the finished picture there: what is cut off at black and white
    # is no detail.
    assert np.abs(wanted.astype(int) - levels)[..., 0].max() <= 1
    assert np.abs(wanted.astype(int) - levels)[..., 1].mean() < 1
