import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gemino.errors import ModelError
from gemino.evaluation import metrics
from gemino.frames import Frame
from gemino.nn.lpips import Lpips
from gemino.nn.pictures import to_tensor
from gemino.runtime.perceptual import load_lpips

VECTORS = Path(__file__).parent / "vectors" / "lpips"


@pytest.fixture(scope="module")
def network() -> Lpips:
    return load_lpips()


def scene(size: int = 96) -> Frame:
    """A smooth picture with two edges; made of arithmetic alone, so the same everywhere."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    red = 128 + 100 * np.sin(x / 7.0) * np.cos(y / 11.0)
    green = 255 * x / size
    blue = np.where((x - 48) ** 2 + (y - 40) ** 2 < 400, 230.0, 40.0)
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def noisy(frame: Frame) -> Frame:
    y, x, c = np.indices(frame.shape)
    pattern = ((x * 37 + y * 91 + c * 53) % 61) - 30
    return np.asarray(np.clip(frame.astype(np.int64) + pattern, 0, 255), np.uint8)


def boxed(frame: Frame) -> Frame:
    return np.asarray(cv2.blur(frame, (9, 9)), np.uint8)


# LPIPS and SSIM of the pairs above, from lpips 0.1.4 and scikit-image 0.26 in turn.
GOLDEN_LPIPS = {"noisy": 0.1211177, "boxed": 0.1783435}
GOLDEN_SSIM = {"noisy": 0.3549983, "boxed": 0.9697886}
DEGRADE = {"noisy": noisy, "boxed": boxed}


@pytest.mark.parametrize("how", ["noisy", "boxed"])
def test_lpips_of_synthetic_pictures_is_what_the_published_package_says(
    network: Lpips, how: str
) -> None:
    measured = metrics.lpips(network, scene(), DEGRADE[how](scene()))
    assert measured == pytest.approx(GOLDEN_LPIPS[how], abs=2e-4)


def test_lpips_of_the_authors_example_pictures(network: Lpips) -> None:
    reference = _read(VECTORS / "ex_ref.png")
    for name, published in (("ex_p0.png", 0.7219), ("ex_p1.png", 0.1376)):
        measured = metrics.lpips(network, reference, _read(VECTORS / name))
        assert measured == pytest.approx(published, abs=5e-5)


def test_lpips_agrees_with_the_lpips_package(network: Lpips) -> None:
    package = pytest.importorskip("lpips", reason="the lpips package is not installed")
    theirs = package.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    ours = network.state_dict()
    slices = {"0": 1, "3": 2, "6": 3, "8": 4, "10": 5}
    renamed = {
        f"net.slice{slices[index]}.{index}.{kind}": ours[f"features.{index}.{kind}"]
        for index in slices
        for kind in ("weight", "bias")
    }
    renamed |= {f"lin{k}.model.1.weight": ours[f"lin{k}.weight"] for k in range(5)}
    result = theirs.load_state_dict(renamed, strict=False)
    assert not result.unexpected_keys
    a, b = to_tensor([scene()]), to_tensor([noisy(scene())])
    with torch.inference_mode():
        expected = float(theirs(a, b, normalize=True))
        expected_unscaled = float(theirs(a, b))
        assert float(network(a, b)) == pytest.approx(expected, rel=1e-4)
        assert float(network(a, b, unscaled=True)) == pytest.approx(expected_unscaled, rel=1e-4)


def test_equal_pictures_have_no_distance(network: Lpips) -> None:
    assert metrics.lpips(network, scene(), scene()) == 0
    assert metrics.psnr(scene(), scene()) == math.inf
    assert metrics.ssim(scene(), scene()) == pytest.approx(1)


def test_a_batch_is_measured_picture_by_picture(network: Lpips) -> None:
    pairs = [(scene(), noisy(scene())), (scene(), boxed(scene()))]
    with torch.inference_mode():
        together = network(to_tensor([a for a, _ in pairs]), to_tensor([b for _, b in pairs]))
    apart = [metrics.lpips(network, a, b) for a, b in pairs]
    assert together.tolist() == pytest.approx(apart, rel=1e-4)


def test_gradients_stay_finite_where_features_vanish(network: Lpips) -> None:
    flat = torch.zeros(1, 3, 64, 64, requires_grad=True)
    network(flat, to_tensor([scene(64)])).sum().backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())
    assert float(flat.grad.abs().sum()) > 0


def test_unscaled_input_gives_another_figure(network: Lpips) -> None:
    a, b = to_tensor([scene()]), to_tensor([noisy(scene())])
    with torch.inference_mode():
        assert abs(float(network(a, b, unscaled=True)) - float(network(a, b))) > 0.01


def test_vgg_weights_are_recognised_and_half_precision_is_taken(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "vgg.npz"
    np.savez(path, allow_pickle=False, **_vgg_weights(rng))
    vgg = load_lpips(path)
    assert vgg.backbone == "vgg"
    assert vgg.get_parameter("features.0.weight").dtype == torch.float32
    assert metrics.lpips(vgg, scene(64), noisy(scene(64))) > 0


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    only = {"features.0.weight": np.zeros((1, 1, 1, 1), np.float32)}
    np.savez(path, allow_pickle=False, **only)
    with pytest.raises(ModelError, match="not the weights of LPIPS with alex"):
        load_lpips(path)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 torn", None])
def test_a_file_that_holds_no_weights_is_a_model_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "weights.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot read LPIPS weights"):
        load_lpips(path)


def test_psnr_of_a_known_error() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    assert metrics.psnr(grey, grey + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))


@pytest.mark.parametrize("how", ["noisy", "boxed"])
def test_ssim_is_what_scikit_image_says(how: str) -> None:
    measured = metrics.ssim(scene(), DEGRADE[how](scene()))
    assert measured == pytest.approx(GOLDEN_SSIM[how], abs=1e-4)


def _vgg_weights(rng: np.random.Generator) -> dict[str, NDArray[np.float16]]:
    widths = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
    widths |= dict.fromkeys((17, 19, 21, 24, 26, 28), 512)
    weights: dict[str, NDArray[np.float16]] = {}
    inputs = 3
    for index, outputs in widths.items():
        spread = math.sqrt(2 / (inputs * 9))
        drawn = rng.standard_normal((outputs, inputs, 3, 3), np.float32) * spread
        weights[f"features.{index}.weight"] = drawn.astype(np.float16)
        weights[f"features.{index}.bias"] = np.zeros(outputs, np.float16)
        inputs = outputs
    for depth, channels in enumerate((64, 128, 256, 512, 512)):
        weights[f"lin{depth}.weight"] = np.ones((1, channels, 1, 1), np.float16)
    return weights


def _read(path: Path) -> Frame:
    bgr = cv2.imread(str(path))
    assert bgr is not None
    return np.asarray(bgr[:, :, ::-1], np.uint8)
