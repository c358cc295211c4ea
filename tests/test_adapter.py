"""A person's adapter: what it may change, merged and side by side in one batch, and as a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from gemino.adapters import Size, find, parse, to_bytes
from gemino.config import ModelConfig
from gemino.errors import ModelError
from gemino.nn.adapter import (
    Adapter,
    LowRank,
    attach,
    batched,
    check,
    extract,
    layers,
    merged,
)
from gemino.nn.model import GeminoNet, build
from gemino.wire import MAX_ADAPTER_BYTES
from gemino.zoo import ModelFiles
from tiny_model import write_tiny_model

SIDE, LR = 128, 64
FACE = np.eye(2, 128, dtype=np.float32)
"""The likeness of somebody who cannot be."""
SIZES = {Size(512, 128), Size(256, 64)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def network() -> GeminoNet:
    torch.manual_seed(1)
    net = build(ModelConfig("tiny", "xs"))
    torch.nn.init.normal_(net.generator.residual.weight, std=0.05)  # else it draws nothing yet
    return net.eval()


def an_adapter(network: GeminoNet, seed: int, rank: int = 2, size: float = 0.3) -> Adapter:
    """One that changes every layer by `size` of its length."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name, layer in layers(network).items():
        weight = layer.weight.detach()
        up = torch.randn(weight.shape[0], rank, generator=generator)
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        part = LowRank(up, down, None)
        up = up * size * weight.norm() / part.change().norm()
        shift = None if layer.bias is None else 0.05 * torch.randn(len(up), generator=generator)
        parts[name] = LowRank(up, down, shift)
    return parts


def draw(network: GeminoNet, at: int | None = None) -> Tensor:
    """Four pictures of noise, or the one `at`."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(4, 3, SIDE, SIDE, generator=generator)
    lr = torch.rand(4, 3, LR, LR, generator=generator)
    rung = torch.rand(4, 2, generator=generator)
    chosen = slice(None) if at is None else slice(at, at + 1)
    with torch.inference_mode():
        features = network.encode_reference(reference[chosen], lr[chosen])
        return network.synthesize(features, lr[chosen], rung[chosen])


def arrays(adapter: Adapter) -> dict[str, NDArray[np.floating]]:
    return {
        f"{name}.{kind}": x.numpy()
        for name, part in adapter.items()
        for kind, x in zip(("up", "down", "shift"), part, strict=True)
        if x is not None
    }


def test_many_people_in_one_batch_are_drawn_as_one_by_one(network: GeminoNet) -> None:
    people = [
        an_adapter(network, 1),
        None,
        an_adapter(network, 2, rank=5),
        dict(list(an_adapter(network, 3).items())[:3]),
    ]
    together = draw(batched(network, people))
    for at, adapter in enumerate(people):
        alone = draw(network if adapter is None else merged(network, adapter), at)
        torch.testing.assert_close(together[at : at + 1], alone, atol=2e-5, rtol=0)
        if adapter is not None:
            assert float((alone - draw(network, at)).abs().max()) > 1e-3  # it does something


def test_a_batch_of_another_size_than_its_people_is_refused(network: GeminoNet) -> None:
    with pytest.raises(ValueError, match="2 people, not 4"):
        draw(batched(network, [an_adapter(network, 1), None]))


def test_merging_and_batching_leave_the_shared_network_alone(network: GeminoNet) -> None:
    before = {name: x.clone() for name, x in network.state_dict().items()}
    merged(network, an_adapter(network, 1))
    own = batched(network, [an_adapter(network, 1), None])
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    shared = {x.data_ptr() for x in network.parameters()}
    assert {x.data_ptr() for x in own.parameters()} == shared  # no copy of the weights


def test_motion_and_gates_are_out_of_reach(network: GeminoNet) -> None:
    names = layers(network)
    assert names
    assert not [n for n in names if "gate" in n or "flow" in n or "motion" in n or "trust" in n]


def test_an_attached_adapter_changes_nothing_until_it_is_trained_and_then_as_when_merged(
    network: GeminoNet,
) -> None:
    trained = build(network.config)
    trained.load_state_dict(network.state_dict())
    attach(trained, rank=3)
    torch.testing.assert_close(draw(trained), draw(network), atol=1e-6, rtol=0)
    frozen = [name for name, x in trained.named_parameters() if not x.requires_grad]
    assert not [name for name in frozen if name.endswith((".up", ".down", ".shift"))]
    with torch.no_grad():
        for x in trained.parameters():
            if x.requires_grad:
                x.add_(0.01 * torch.randn_like(x))
    adapter = extract({name: x.detach() for name, x in trained.state_dict().items()})
    assert adapter.keys() == layers(network).keys()
    torch.testing.assert_close(draw(trained), draw(merged(network, adapter)), atol=1e-5, rtol=0)


def changed(network: GeminoNet, *, up: Tensor | None = None, down: Tensor | None = None) -> Adapter:
    """One of a single layer, with something about it otherwise."""
    name, part = next(iter(an_adapter(network, 1).items()))
    return {
        name: LowRank(
            part.up if up is None else up, part.down if down is None else down, part.shift
        )
    }


def test_an_adapter_that_does_not_fit_is_refused(network: GeminoNet) -> None:
    name, part = next(iter(an_adapter(network, 1).items()))
    outputs = part.up.shape[0]
    cases: list[tuple[Adapter, str]] = [
        ({"motion.to64.0": part}, "no layer that"),
        ({"generator.nothing": part}, "no layer that"),
        (changed(network, up=torch.zeros(outputs + 1, 2)), "does not fit"),
        (changed(network, down=torch.zeros(3, *part.down.shape[1:])), "does not fit"),
        (changed(network, down=torch.zeros(0)), "does not fit"),
        (
            {name: LowRank(torch.zeros(outputs, 33), torch.zeros(33, *part.down.shape[1:]), None)},
            "does not fit",
        ),
        ({name: part._replace(shift=None)}, "shift does not fit"),
        ({name: part._replace(shift=torch.zeros(outputs + 1))}, "shift does not fit"),
        (changed(network, up=part.up * torch.nan), "no numbers"),
        (changed(network, up=part.up * 10), "changes more than it keeps"),
        ({name: part._replace(shift=torch.full((outputs,), 60.0))}, "shifts more than it keeps"),
    ]
    for adapter, said in cases:
        with pytest.raises(ModelError, match=said):
            check(network, adapter)
        with pytest.raises(ModelError, match=said):
            batched(network, [None, adapter])


def test_a_file_says_whose_it_is_and_for_which_weights(
    network: GeminoNet, base: ModelFiles, tmp_path: Path
) -> None:
    wanted = arrays(an_adapter(network, 1))
    data = to_bytes("me", "tiny", base.sha256, wanted, FACE, SIZES)
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "adapter.safetensors").write_bytes(data)
    for place in (tmp_path / "me", tmp_path / "me" / "adapter.safetensors"):
        found = find(place)
        assert (found.name, found.base, found.base_sha256) == ("me", "tiny", base.sha256)
        assert found.serves == SIZES
        assert found.tensors.keys() == wanted.keys()
        for key, values in found.tensors.items():
            np.testing.assert_allclose(values, wanted[key], atol=2e-3)
        found.check_base("tiny", base.sha256)
    with pytest.raises(ModelError, match="trained on another model"):
        found.check_base("tiny", "0" * 64)


def test_every_shortened_file_is_refused(network: GeminoNet, base: ModelFiles) -> None:
    data = to_bytes("me", "tiny", base.sha256, arrays(an_adapter(network, 1)), FACE, SIZES)
    for length in [*range(0, 600, 7), *range(600, len(data), 997), len(data) - 1]:
        with pytest.raises(ModelError):
            parse(data[:length])
    with pytest.raises(ModelError):
        parse(data + b"\0")


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_being_refused(data: bytes) -> None:
    for hostile in (data, len(data).to_bytes(8, "little") + data):
        with pytest.raises(ModelError):
            parse(hostile)


def forged(base: ModelFiles, network: GeminoNet, metadata: dict[str, str]) -> bytes:
    """A good file with other words in its header."""
    data = to_bytes("me", "tiny", base.sha256, arrays(an_adapter(network, 1)), FACE, SIZES)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"].update(metadata)
    words = json.dumps(header).encode()
    return len(words).to_bytes(8, "little") + words + data[8 + length :]


def test_forged_headers_are_refused(network: GeminoNet, base: ModelFiles) -> None:
    assert parse(forged(base, network, {"name": "you"})).name == "you"
    for metadata in (
        {"format": "gemino-adapter-9"},
        {"name": "../../etc/passwd"},
        {"name": ""},
        {"base_sha256": "abc"},
        {"base": "a\nb"},
        {"serves": ""},
        {"serves": "512"},
        {"serves": "512:128,256:128"},
        {"serves": " ".join(["512:128"] * 65)},
        {"serves": "512:128 0:0"},
    ):
        with pytest.raises(ModelError):
            parse(forged(base, network, metadata))


def test_what_no_training_gives_is_refused(base: ModelFiles) -> None:
    ones = np.ones(4, np.float32)
    cases: list[tuple[dict[str, NDArray[np.floating]], str]] = [
        ({}, "changes nothing"),
        ({"a.up": ones * np.nan}, "no training gives"),
        ({"a.up": ones * 1000}, "no training gives"),
        ({"a.up": np.ones((2, 2, 2), np.float32)}, "of shape"),
        ({"a.up": np.ones((0, 2), np.float32)}, "of shape"),
        ({"a.weights": ones}, "which no adapter has"),
        ({"a.up": np.ones(MAX_ADAPTER_BYTES // 2, np.float32)}, "larger than"),
    ]
    for tensors, said in cases:
        with pytest.raises(ModelError, match=said):
            to_bytes("me", "tiny", base.sha256, tensors, FACE, SIZES)


def test_a_file_must_say_whose_face_it_is_for(network: GeminoNet, base: ModelFiles) -> None:
    changes = arrays(an_adapter(network, 1))
    for face in (FACE * 2, FACE[:, :64], FACE[0], np.eye(17, 128), FACE[:0], FACE * np.nan):
        with pytest.raises(ModelError, match="whose face"):
            to_bytes("me", "tiny", base.sha256, changes, face, SIZES)


def test_a_missing_adapter_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gemino personalize VIDEO --name nobody"):
        find("nobody")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no adapter"):
        find(tmp_path / "empty")
