"""Exported models draw what torch draws, need no torch, and are refused when they do not fit."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from gemino.cli.main import app
from gemino.config import Fovea, Sampling
from gemino.errors import GeminoError, ModelError, RuntimeUnavailable
from gemino.frames import Frame, resize
from gemino.graphs import GRAPH_NAMES
from gemino.nn.blocks import resize as torch_resize
from gemino.nn.portable import diagonals, gathered
from gemino.nn.warp import warp
from gemino.runtime import open_synthesizer
from gemino.runtime.base import ClassicalSynthesizer
from gemino.runtime.choice import choose
from gemino.runtime.onnx_runtime import OnnxSynthesizer
from gemino.runtime.parity import Picture, Scene, compare, export_model, golden_scene, play
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.runtime.views import view
from gemino.sampling import glimpse
from gemino.zoo import ModelFiles, find

ROOT = Path(__file__).parents[1]
SIZE_PX = 256


def picture(size_px: int, seed: int = 0) -> Frame:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return resize(coarse, size_px)


def scene(*samplings: Sampling) -> Scene:
    """A reference and pictures that are like it, moved by a few pixels."""
    moved = np.roll(picture(SIZE_PX), (6, -9), (0, 1))
    seen = [Picture(glimpse(moved, sampling), sampling, -4.0, moved) for sampling in samplings]
    return Scene(picture(SIZE_PX), seen)


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    return find("generic-s")


@pytest.fixture(scope="module")
def exported(files: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "small"
    proof = export_model(files, SIZE_PX, folder, [], "float32")
    assert proof.golden.largest <= 1
    return folder


@pytest.fixture(scope="module")
def exact(files: ModelFiles) -> TorchSynthesizer:
    return TorchSynthesizer(files, SIZE_PX, device="cpu", precision="float32")


def test_the_golden_picture_is_the_same_by_either_runtime(
    files: ModelFiles, exported: Path
) -> None:
    """Measured: at most 1 level of 255 apart, 0.0001 on average."""
    golden = golden_scene(files)
    shown = play(open_synthesizer(exported, SIZE_PX), [golden])
    apart = compare(shown, [golden.pictures[0].original])
    assert apart.largest <= 1
    assert apart.mean < 0.001


def test_one_export_serves_every_lr_size_with_and_without_a_fovea(
    exported: Path, exact: TorchSynthesizer
) -> None:
    samplings = [Sampling(64), Sampling(208), Sampling(128, Fovea(16, 12, 5))]
    pictures = [scene(sampling) for sampling in samplings]
    apart = compare(play(open_synthesizer(exported, SIZE_PX), pictures), play(exact, pictures))
    assert apart.largest <= 2
    assert apart.mean < 0.001


def test_either_runtime_says_the_same_of_where_detail_comes_from(
    exported: Path, exact: TorchSynthesizer
) -> None:
    seen = scene(Sampling(128))
    told = []
    for synthesizer in (open_synthesizer(exported, SIZE_PX), exact):
        synthesizer.forget_references()
        synthesizer.add_reference(seen.reference)
        (asked,) = seen.pictures
        told.append(synthesizer.explain(asked.lr, asked.sampling, asked.log2_bits_per_pixel)[1])
    by_onnx, by_torch = told
    assert by_onnx is not None
    assert by_torch is not None
    assert np.abs(by_onnx.astype(int) - by_torch).max() <= 1
    assert by_torch.any(axis=(0, 1)).all()


def test_int8_is_close_and_says_what_it_costs(
    files: ModelFiles, exact: TorchSynthesizer, tmp_path: Path
) -> None:
    pictures = [scene(*[Sampling(128)] * 2, *[Sampling(64)] * 2)]
    proof = export_model(files, SIZE_PX, tmp_path / "int8", pictures, "int8")
    assert proof.lpips is not None
    assert 0 < abs(proof.lpips[1] - proof.lpips[0]) <= 0.01
    found = find(tmp_path / "int8")
    assert found.graphs is not None
    assert found.graphs.precision == "int8"
    assert found.facts["int8_lpips_cost"] == round(proof.lpips[1] - proof.lpips[0], 4)
    small = OnnxSynthesizer(found, SIZE_PX)
    assert 0 < compare(play(small, pictures), play(exact, pictures)).mean < 1.5
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8" / "draw.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_an_export_keeps_what_the_model_says_of_itself(exported: Path, files: ModelFiles) -> None:
    found = find(exported)
    assert (found.config, found.sha256, found.ladders) == (
        files.config,
        files.sha256,
        files.ladders,
    )
    assert files.facts.items() <= found.facts.items()
    assert sorted(path.name for path in exported.iterdir()) == [
        "align.onnx",
        "config.toml",
        "draw.onnx",
        "encode.onnx",
    ]


def test_a_receiver_needs_no_torch(exported: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from gemino.config import Sampling\n"
        "from gemino.decoder import Decoder\n"
        "from gemino.runtime import open_synthesizer\n"
        f"synthesizer = open_synthesizer({str(exported)!r}, {SIZE_PX})\n"
        "Decoder(synthesizer)\n"
        "picture = np.zeros((64, 64, 3), np.uint8)\n"
        "synthesizer.add_reference(picture)\n"
        "print(synthesizer.neural, synthesizer.synthesize(picture, Sampling(64), -5.0).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == f"True ({SIZE_PX}, {SIZE_PX}, 3)\n"


def test_before_the_first_reference_pictures_are_upsampled(exported: Path) -> None:
    synthesizer = open_synthesizer(exported, SIZE_PX, runtime="onnx")
    small = picture(128)
    neural = [synthesizer.neural]
    plain = synthesizer.synthesize(small, Sampling(128), -5.0)
    assert np.array_equal(plain, resize(small, SIZE_PX))
    synthesizer.add_reference(picture(SIZE_PX))
    neural.append(synthesizer.neural)
    assert not np.array_equal(synthesizer.synthesize(small, Sampling(128), -5.0), plain)
    synthesizer.forget_references()
    assert [*neural, synthesizer.neural] == [False, True, False]


def test_the_runtime_is_chosen_by_what_the_folder_holds(exported: Path) -> None:
    assert isinstance(open_synthesizer(exported, SIZE_PX), OnnxSynthesizer)
    classical = open_synthesizer(exported, SIZE_PX, runtime="classical")
    assert isinstance(classical, ClassicalSynthesizer)
    with pytest.raises(RuntimeUnavailable, match=r"holds no graphs .* gemino export"):
        open_synthesizer("generic-s", SIZE_PX, runtime="onnx")
    with pytest.raises(RuntimeUnavailable, match="which torch does not run"):
        open_synthesizer(exported, SIZE_PX, runtime="torch")
    with pytest.raises(RuntimeUnavailable, match="256 px, not 512; export the model with --size"):
        open_synthesizer(exported, 512)


@pytest.mark.parametrize(("torch_ms", "runtime"), [(90, "onnxruntime"), (20, "torch")])
def test_an_export_in_the_users_folder_is_taken_where_it_is_faster(
    torch_ms: float,
    runtime: str,
    files: ModelFiles,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"torch": torch_ms / 1000, "onnx float32": 0.03}

    def kept(what: str, measure: object) -> float:  # noqa: ARG001
        return next(s for name, s in known.items() if f" px {name} x1" in what)

    monkeypatch.setattr("gemino.runtime.choice.frame_s", kept)
    chosen = choose(files, SIZE_PX, 1, "cpu", None, exported.parent)
    assert chosen.way.startswith(f"{runtime}, cpu")


def test_where_no_time_is_known_both_are_timed(
    files: ModelFiles, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: dict[str, float] = {}

    def kept(what: str, measure: Callable[[], float]) -> float:
        times[what] = measure()
        return times[what]

    monkeypatch.setattr("gemino.runtime.choice.frame_s", kept)
    chosen = choose(files, SIZE_PX, 1, "cpu", None, exported.parent)
    assert not chosen.neural  # what it was timed with is forgotten
    assert len(times) == 2
    assert all(0 < seconds < 60 for seconds in times.values())


def copy(exported: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "config.toml"
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")


def lose_a_graph(folder: Path) -> None:
    (folder / "draw.onnx").unlink()


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "align.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "align.onnx").write_bytes(data)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (lose_a_graph, "draw.onnx: cannot be read"),
    (flip_a_byte, "align.onnx: is not the file that config.toml describes"),
    (lambda f: edit(f, "[graphs]\nformat = 1", "[graphs]\nformat = 2"), "runs format 1; export"),
    (lambda f: edit(f, "output_px = 256", "output_px = 250"), "output_px must be one of 256"),
    (lambda f: edit(f, "output_px = 256", 'output_px = "256"'), "output_px must be one of 256"),
    (lambda f: edit(f, '"float32"', '"float8"'), "precision must be float32 or int8"),
    (lambda f: edit(f, 'encode = "', 'encode = "0'), "encode must be a SHA-256"),
    (lambda f: edit(f, "[graphs]", "[[graphs]]"), "graphs must be a table"),
    (lambda f: edit(f, "[graphs]", "[other]"), "model.safetensors: cannot be read"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_a_damaged_export_is_refused(
    damage: Callable[[Path], None], said: str, exported: Path, tmp_path: Path
) -> None:
    folder = copy(exported, tmp_path / "export")
    damage(folder)
    with pytest.raises(ModelError) as caught:
        open_synthesizer(folder, SIZE_PX)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GRAPH_NAMES)
@pytest.mark.parametrize("how", ["nonsense", "another graph", "another size"])
def test_a_graph_that_does_not_fit_is_refused_when_opened(
    name: str, how: str, exported: Path, tmp_path: Path
) -> None:
    """Its checksum is right: who made the folder made it so."""
    found = find(copy(exported, tmp_path / "export"))
    assert found.graphs is not None
    path = found.path / f"{name}.onnx"
    if how == "nonsense":
        path.write_bytes(b"no graph at all" * 10)
    elif how == "another graph":
        others = [other for other in GRAPH_NAMES if other != name]
        path.write_bytes((found.path / f"{others[0]}.onnx").read_bytes())
    else:
        model = onnx.load(path)
        for dimension in model.graph.input[0].type.tensor_type.shape.dim:
            dimension.dim_value += 1
        onnx.save(model, path)
    sums = {**found.graphs.sha256, name: hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(ModelError, match="cannot be run") as caught:
        OnnxSynthesizer(replace(found, graphs=replace(found.graphs, sha256=sums)), SIZE_PX)
    assert "\n" not in str(caught.value)


def test_graphs_that_draw_something_else_are_not_written(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemino.nn.warp.gathered", lambda x, flow: gathered(x, flow * 2))
    with pytest.raises(ModelError, match=r"other pictures than torch: .* nothing was written"):
        export_model(files, SIZE_PX, tmp_path / "wrong", [scene(Sampling(128))], "float32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", [16, 61, 64, 100, 128, 192, 208, 256, 384])
@pytest.mark.parametrize("size_px", [64, 128, 192])
def test_a_view_is_what_torch_makes_of_it(side: int, size_px: int) -> None:
    seen = np.random.default_rng(side).uniform(0, 255, (side, side, 3)).astype(np.float32)
    wanted = torch_resize(torch.from_numpy(seen).permute(2, 0, 1)[None], size_px)
    found = view(seen, size_px)
    assert found.shape == (size_px, size_px, 3)
    assert (
        np.abs(found - wanted[0].permute(1, 2, 0).numpy()).max() < 0.01
    )  # levels: OpenCV rounds its weights


def test_what_stands_in_for_a_warp_is_one() -> None:
    x = torch.rand(1, 5, 30, 16, generator=torch.Generator().manual_seed(0))
    flow = torch.rand(1, 2, 30, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    assert torch.allclose(gathered(x, flow), warp(x, flow), atol=1e-5)


def test_diagonals_are_found_without_strides() -> None:
    product: NDArray[np.float32] = np.arange(2 * 7 * 9, dtype=np.float32).reshape(2, 7, 9)
    found = diagonals(torch.from_numpy(product), 3).numpy()
    for row in range(7):
        assert np.array_equal(found[:, row], product[:, row, row : row + 3])


REFUSED = [
    (["--size", "500"], "--size must be 256, 512, 768 or 1024, not 500"),
    (["--lr", "100"], "multiple of 16"),
    (["--lr", "1024"], "not larger than the rebuilt one"),
    (["--model", "nobody"], "no model 'nobody'"),
    (["--calibrate", "nowhere.mp4"], "no such file or folder"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_the_command_says_at_once_what_cannot_work(
    options: list[str], said: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["export", "-o", str(tmp_path / "out"), *options])
    assert isinstance(done.exception, GeminoError)
    assert said in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_command_overwrites_no_other_folder(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    done = CliRunner().invoke(app, ["export", "-o", str(tmp_path)])
    assert "holds something else" in str(done.exception)
    done = CliRunner().invoke(app, ["export", "-o", str(tmp_path), "--model", str(exported)])
    assert "is an export already" in str(done.exception)
