"""Properties of the network."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemino.config import ModelConfig, NetworkSize
from gemino.nn.blocks import GateHead, resize
from gemino.nn.model import GeminoNet, build, count_macs, rung_vector
from gemino.nn.motion import MotionEstimator
from gemino.nn.warp import correlation, warp

BUDGET_GMAC = {"xs": 2.0, "s": 8.0, "l": 40.0}
RUNG = torch.zeros(1, 2)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        yield


def network(size: NetworkSize = "xs") -> GeminoNet:
    """A network whose every branch does something: layers that start at zero are filled."""
    model = build(ModelConfig("test", size)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return model


def test_a_zero_flow_is_the_identity() -> None:
    with seeded(0):
        x = torch.rand(2, 5, 24, 40)
        assert torch.allclose(warp(x, torch.zeros(2, 2, 24, 40)), x, atol=1e-5)


def test_a_flow_is_a_fraction_of_the_side() -> None:
    with seeded(0):
        x = torch.rand(1, 1, 16, 16)
        flow = torch.zeros(1, 2, 16, 16)
        flow[:, 0] = 3 / 16  # three pixels to the right
        assert torch.allclose(warp(x, flow)[..., :13], x[..., 3:], atol=1e-5)
        assert torch.allclose(warp(x, flow)[..., 13:], x[..., 15:].expand(1, 1, 16, 3), atol=1e-5)


def test_correlation_peaks_at_the_displacement() -> None:
    with seeded(0):
        reference = torch.randn(1, 8, 12, 12)
        target = torch.roll(reference, (1, -2), (2, 3))  # target(p) = reference(p - (1, -2))
        best = correlation(target, reference, 2)[0, :, 4:8, 4:8].argmax(0)
        assert torch.all(best == (2 - 1) * 5 + (2 + 2))


def seen(reference: Tensor, lr_px: int) -> tuple[Tensor, Tensor]:
    """A reference, and what an LR picture of it shows."""
    return reference, resize(reference, lr_px)


@pytest.mark.parametrize("size", ["xs", "s", "l"])
def test_each_size_stays_in_its_budget(size: NetworkSize) -> None:
    model = build(ModelConfig("test", size))
    assert count_macs(model, 1024, 128) / 1e9 <= BUDGET_GMAC[size]


@pytest.mark.parametrize("output_px", [128, 256, 512, 768, 1024])
@pytest.mark.parametrize("lr_px", [64, 192])
def test_one_network_gives_every_size_in_range(output_px: int, lr_px: int) -> None:
    with seeded(0):
        model = network()
        features = model.encode_reference(*seen(torch.rand(1, 3, output_px, output_px), lr_px))
        frame = model.synthesize(features, torch.rand(1, 3, lr_px, lr_px), RUNG)
    assert frame.shape == (1, 3, output_px, output_px)
    assert bool(torch.isfinite(frame).all())
    assert 0 <= float(frame.min()) <= float(frame.max()) <= 1


@pytest.mark.parametrize("side", [120, 132, 1032])
def test_a_reference_of_another_size_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match="reference"):
        network().encode_reference(*seen(torch.rand(1, 3, side, side), 64))


def test_with_the_gates_shut_it_is_a_plain_super_resolver() -> None:
    """Whatever the reference shows, nothing of it reaches the output."""
    with seeded(1):
        model = network()
        lr = torch.rand(1, 3, 64, 64)
        shut, open_ = [], []
        for _ in range(2):
            features = model.encode_reference(*seen(torch.rand(1, 3, 256, 256), 64))
            shut.append(model.explain(features, lr, RUNG, gate_limit=0.0).frame)
            open_.append(model.explain(features, lr, RUNG).frame)
        assert torch.equal(shut[0], shut[1])
        assert not torch.allclose(open_[0], open_[1], atol=1e-3)
        other = model.explain(features, torch.rand(1, 3, 64, 64), RUNG, gate_limit=0.0).frame
        assert not torch.allclose(shut[0], other, atol=1e-3)


def test_an_untrained_network_shows_the_upsampled_lr_and_the_gated_band() -> None:
    with seeded(2):
        model = build(ModelConfig("test", "xs")).eval()
        features = model.encode_reference(*seen(torch.rand(1, 3, 256, 256), 64))
        lr = torch.rand(1, 3, 64, 64)
        frame = model.explain(features, lr, RUNG, gate_limit=0.0).frame
        assert torch.allclose(frame, resize(lr, 256), atol=1e-5)


def test_nothing_is_kept_between_frames() -> None:
    """Two calls with one reference, in any order and batched, agree; the module holds no state."""
    with seeded(3):
        model = network()
        before = {name: x.clone() for name, x in model.state_dict().items()}
        references, lrs = torch.rand(2, 3, 256, 256), torch.rand(2, 3, 64, 64)
        rungs = torch.tensor([rung_vector(64, -5, 256), rung_vector(64, -3, 256)])

        def one(index: int) -> Tensor:
            features = model.encode_reference(*seen(references[index : index + 1], 64))
            lr, rung = lrs[index : index + 1], rungs[index : index + 1]
            return model.synthesize(features, lr, rung)

        late = one(1)
        early = one(0)
        together = model.synthesize(model.encode_reference(*seen(references, 64)), lrs, rungs)
        assert torch.allclose(together, torch.cat((early, late)), atol=1e-4)
        assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_the_rung_changes_the_picture() -> None:
    with seeded(4):
        model = network()
        features = model.encode_reference(*seen(torch.rand(1, 3, 256, 256), 64))
        lr = torch.rand(1, 3, 64, 64)
        coarse, fine = (torch.tensor([rung_vector(64, level, 256)]) for level in (-7.0, -1.0))
        assert not torch.allclose(
            model.synthesize(features, lr, coarse), model.synthesize(features, lr, fine), atol=1e-4
        )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), step=st.floats(0.0, 2.0))
def test_more_mismatch_never_opens_a_gate(seed: int, step: float) -> None:
    with seeded(seed):
        head = GateHead(features=6, mismatches=2, gates=3)
        for parameter in head.parameters():
            parameter.normal_()
        features = torch.randn(1, 6, 4, 4) * 5
        mismatch = torch.rand(1, 2, 4, 4)
        gates = head(features, mismatch)
        closer = head(features, mismatch + step)
        assert bool((closer <= gates + 1e-6).all())
        assert 0 <= float(gates.min()) <= float(gates.max()) <= 1
        assert float(head(features, mismatch + 1e4).max()) == 0.0


def test_motion_is_found_by_training_on_a_shift() -> None:
    """The estimator can learn: a few steps on shifted noise explain most of the shift."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        motion = MotionEstimator()
        optimizer = torch.optim.Adam(motion.parameters(), 2e-3)
        losses = []
        for _ in range(40):
            reference = resize(torch.rand(2, 3, 16, 16), 128)
            target = torch.roll(reference, (4, -6), (2, 3))
            flow, _ = motion(motion.pyramid(target), motion.pyramid(reference))
            small = resize(target, 64)
            loss = (warp(resize(reference, 64), flow) - small)[..., 8:-8, 8:-8].abs().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
