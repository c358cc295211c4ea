"""Models on disk: found, checked, and refused in one line."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemino import zoo
from gemino.config import ModelConfig
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
