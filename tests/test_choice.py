"""Which runtime draws, and what is kept of the times that decide it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gemino.config import ModelConfig
from gemino.graphs import GRAPH_NAMES, describe, graph_path
from gemino.nn.model import build
from gemino.runtime import timings
from gemino.runtime.choice import Way, decide, exports_of, lighter_than
from gemino.runtime.timings import frame_s, keep, recall
from gemino.zoo import ModelFiles, write_config, write_export
from tiny_model import write_tiny_model


def never() -> float:
    raise AssertionError("measured again")


def measured(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def test_a_time_is_measured_once(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    assert frame_s("a", measured(0.25), folder=folder) == 0.25
    assert frame_s("b", measured(0.5), folder=folder) == 0.5
    assert frame_s("a", never, folder=folder) == 0.25
    assert [path.name for path in folder.iterdir()] == ["timings.json"]


def test_the_newest_time_that_is_kept_counts(tmp_path: Path) -> None:
    assert recall("a", folder=tmp_path) is None
    for seconds in (0.25, 0.5):
        keep("a", seconds, folder=tmp_path)
        keep("b", 1.0, folder=tmp_path)
        assert recall("a", folder=tmp_path) == seconds


def test_another_machine_measures_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame_s("a", measured(0.25), folder=tmp_path)
    monkeypatch.setattr(timings, "this_machine", lambda: "another one")
    assert frame_s("a", measured(0.75), folder=tmp_path) == 0.75


def test_this_machine_names_processor_and_versions() -> None:
    said = timings.this_machine()
    assert f"torch {torch.__version__.partition('+')[0]}" in said
    assert said == timings.this_machine()


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "not JSON",
        "[" * 100_000,
        "{}",
        json.dumps({"format": 2, "machine": "M", "frame_s": {"a": 9}}),
        json.dumps({"format": 1, "machine": "M", "frame_s": [1]}),
        json.dumps({"format": 1, "machine": "M", "frame_s": {"a": "quick"}}),
        json.dumps({"format": 1, "machine": "M", "frame_s": {"a": -1}}),
        '{"format": 1, "machine": "M", "frame_s": {"a": NaN}}',
        json.dumps({"format": 1, "machine": "M", "frame_s": {"a": 1e9}}),
        json.dumps({"format": 1, "machine": "M", "frame_s": {"a": True}}),
        json.dumps({"format": 1, "machine": "M" * 80_000, "frame_s": {"a": 9}}),
    ],
)
def test_a_file_that_cannot_be_believed_is_begun_anew(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "this_machine", lambda: "M")
    (tmp_path / "timings.json").write_text(stored)
    assert frame_s("a", measured(0.25), folder=tmp_path) == 0.25
    assert frame_s("a", never, folder=tmp_path) == 0.25


def test_where_nothing_can_be_kept_it_is_measured_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert frame_s("a", measured(0.25), folder=tmp_path / "file") == 0.25
    assert frame_s("a", measured(0.5), folder=tmp_path / "file") == 0.5


TORCH, GRAPHS, INT8 = "torch", "onnx float32", "onnx int8"


@pytest.mark.parametrize(
    ("ms", "chosen"),
    [
        ({TORCH: 40, GRAPHS: 30, INT8: 10}, GRAPHS),  # exact, in time, the faster
        ({TORCH: 70, GRAPHS: 80, INT8: 50}, INT8),  # nothing else is in time
        ({TORCH: 90, GRAPHS: 80, INT8: 70}, TORCH),  # nothing is: torch can draw smaller
        ({INT8: 90}, INT8),
    ],
)
def test_what_is_in_time_and_exact_wins(ms: dict[str, float], chosen: str) -> None:
    ways = [Way(name, value / 1000, name != INT8) for name, value in ms.items()]
    assert decide(ways).name == chosen


def write_model(folder: Path, name: str) -> ModelFiles:
    folder.mkdir()
    config = ModelConfig(name, "xs" if name.endswith("xs") else "s")
    save_file(build(config).state_dict(), folder / "model.safetensors")
    return write_config(folder, config)


def test_the_lighter_model_lies_beside_the_other(tmp_path: Path) -> None:
    small = write_model(tmp_path / "someone-s", "someone-s")
    assert lighter_than(small) is None
    light = write_model(tmp_path / "someone-xs", "someone-xs")
    found = lighter_than(small)
    assert found is not None
    assert found.sha256 == light.sha256
    assert lighter_than(light) is None
    (tmp_path / "someone-xs" / "model.safetensors").write_bytes(b"damaged")
    assert lighter_than(small) is None


def test_a_model_without_a_family_has_no_lighter_one(tmp_path: Path) -> None:
    assert lighter_than(write_tiny_model(tmp_path / "tiny")) is None


def test_only_exports_of_the_very_model_and_size_count(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path / "tiny")
    other = write_model(tmp_path / "other-s", "other-s")
    exports = tmp_path / "exports"
    for name, model, px in (("a", files, 512), ("b", files, 256), ("c", other, 512)):
        folder = exports / name
        folder.mkdir(parents=True)
        for graph in GRAPH_NAMES:
            graph_path(folder, graph).write_bytes(b"any")
        write_export(folder, model, describe(folder, px, "float32"), {})
    (exports / "d").mkdir()
    (exports / "d" / "config.toml").write_text("damaged [")
    found = exports_of(files, 512, exports)
    assert [export.path.name for export in found] == ["a"]
    assert exports_of(files, 1024, exports) == []
    assert exports_of(files, 512, tmp_path / "missing") == []
