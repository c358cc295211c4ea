"""Models on disk: found, checked, and refused in one line."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemino import zoo
from gemino.config import ModelConfig, ladder
from gemino.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A well described model; its weights are no tensors, which the zoo does not mind."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    facts: dict[str, zoo.Fact] = {"trained_on": 'a "few" clips\n\x7f\\', "gmac_1024": 7.9, "n": 3}
    zoo.write_config(tmp_path, ModelConfig("tiny", "xs"), facts)
    return tmp_path


def test_a_model_is_found_by_its_folder(folder: Path) -> None:
    files = zoo.find(folder)
    assert zoo.find(str(folder)) == files
    assert files.config == ModelConfig("tiny", "xs", 1)
    assert files.weights_path.read_bytes() == b"weights"
    assert files.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert files.facts == {"trained_on": 'a "few" clips\n\x7f\\', "gmac_1024": 7.9, "n": 3}


def test_other_weights_than_described_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(ModelError, match=r"is not the file.*fetch the model again"):
        zoo.find(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        zoo.find(folder)


def test_a_missing_model_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model 'no-such-model'; name one of these"):
        zoo.find("no-such-model")
    with pytest.raises(ModelError, match=r"no config\.toml"):
        zoo.find(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"tiny"', '"../tiny"', "plain word"),
        ('"tiny"', "7", "plain word"),
        ('"xs"', '"huge"', "xs, s or l"),
        ("format = 1", "format = 99", "fetch a matching model"),
        ("format = 1", "format = true", "fetch a matching model"),
        ("sha256 = ", "sha = ", "64 hexadecimal"),
        ("[facts]", "[facts", "not TOML"),
        ("[facts]", "[other]\n[facts.x]", ""),
        ("name = ", "#" * 70_000 + "\nname = ", "larger"),
    ],
)
def test_a_wrong_config_is_named(folder: Path, old: str, new: str, says: str) -> None:
    config = folder / "config.toml"
    config.write_text(config.read_text().replace(old, new, 1))
    if not says:
        assert zoo.find(folder).facts == {}
        return
    with pytest.raises(ModelError, match=says) as caught:
        zoo.find(folder)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "config.toml").write_bytes(os.urandom(200) + b"\xff")
    with pytest.raises(ModelError, match="not TOML"):
        zoo.find(folder)


def test_weights_beyond_the_limit_are_not_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ModelError, match="larger"):
        zoo.find(folder)


def test_a_config_needs_weights_and_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        zoo.write_config(tmp_path, ModelConfig("tiny"))
    with pytest.raises(ValueError, match="letters"):
        zoo.write_config(tmp_path, ModelConfig("../tiny"))


def test_every_shipped_model_is_whole() -> None:
    for name in zoo.names():
        assert zoo.find(name).config.name == name


def test_looking_for_models_loads_no_torch() -> None:
    code = "import sys, gemino.zoo, gemino.encoder, gemino.runtime; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


STEPS = ((300.0, 512), (24.0, 192), (0.0, 64))


def test_a_model_brings_its_own_ladder(folder: Path) -> None:
    files = zoo.write_config(folder, ModelConfig("tiny", "xs"), {"n": 3}, {"av1": STEPS})
    assert files.ladders == {"av1": STEPS}
    assert [ladder(kbps, "av1", STEPS).size_px for kbps in (5, 23, 24, 299, 300)] == [
        *(64, 64, 192, 192, 512)
    ]
    assert zoo.find(folder).facts == {"n": 3}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("h264 = [[0.0, 64]]", "vp8, vp9, av1"),
        ("av1 = 7", "a list"),
        ("av1 = []", "a list"),
        (f"av1 = [{', '.join(['[0.0, 64]'] * 17)}]", "a list"),
        ("av1 = [[0.0, 60]]", "LR size"),
        ("av1 = [[0.0, 2048]]", "LR size"),
        ("av1 = [[-1.0, 64]]", "LR size"),
        ('av1 = [["0", 64]]', "LR size"),
        ("av1 = [[0.0, 64, 1]]", "LR size"),
        ("av1 = [[8.0, 128], [9.0, 64]]", "highest rate"),
        ("av1 = [[8.0, 128], [4.0, 64]]", "down to 0"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(folder: Path, table: str, says: str) -> None:
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("[ladder]", f"[ladder]\n{table}"))
    with pytest.raises(ModelError, match=says):
        zoo.find(folder)
