"""Released models on disk: found by name or path, and never opened unchecked.

A model is a folder with `config.toml` and `model.safetensors`. config.toml holds `name`, `size`,
`format` (see `gemino.config.ModelConfig`), `sha256` of the weights, a table `[ladder]` with the
LR sizes that serve this model best, and a table `[facts]` of figures for people (parameters, GMAC,
what it was trained on), which nothing here relies on.
A folder whose config.toml has a table `[graphs]` (`gemino.graphs`) is an export: it holds graphs in
place of the weights, `sha256` says which weights they were made from, and the rest is the same.
A personal adapter (`gemino.adapters`) is named behind its model: `generic-s+me`.
This module knows nothing of tensors: a sender names its receiver's model without loading it.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from gemino import adapters
from gemino.adapters import AdapterFile
from gemino.config import (
    MAX_KBPS,
    MAX_LR_PX,
    MIN_LR_PX,
    LadderSteps,
    LrCodec,
    ModelConfig,
    NetworkSize,
)
from gemino.errors import ModelError
from gemino.graphs import Graphs, from_table, to_lines

DEFAULT_MODEL = "generic-s"
FORMAT = ModelConfig("any").format
"""The only format of weights that this version runs."""

CONFIG = "config.toml"
_WEIGHTS = "model.safetensors"
_MAX_CONFIG_BYTES = 64 * 1024
_MAX_WEIGHTS_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_STEPS = 16
_WITH = "+"
_SIZES: dict[str, NetworkSize] = {"xs": "xs", "s": "s", "l": "l"}

Fact = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model whose weights match their checksum.

    path: its folder. sha256: of the weights, in hexadecimal. facts: what the card says. ladders:
    measured for it, by LR codec; where there is none, `config.ladder` has its own. graphs: of an
    export, which has no weights; they are checked when they are read. adapter: a person's, to be
    merged into the weights.
    """

    config: ModelConfig
    path: Path
    weights_path: Path
    sha256: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    ladders: Mapping[LrCodec, LadderSteps] = field(default_factory=dict)
    graphs: Graphs | None = None
    adapter: AdapterFile | None = None

    @property
    def title(self) -> str:
        """The model's name, and behind it whose adapter is merged."""
        name = self.config.name
        return name if self.adapter is None else adapted(name, self.adapter.name)

    @property
    def hint(self) -> str:
        """The name for a stream's header, from which a receiver finds the same weights: an adapter
        is named by its checksum there, not by its owner."""
        name = self.config.name
        return name if self.adapter is None else adapted(name, self.adapter.hash_name)


def adapted(model: str | Path, adapter: str | Path) -> str:
    """The name under which `find` knows `model` with a person's `adapter`."""
    return f"{model}{_WITH}{adapter}"


def find(name_or_path: str | Path) -> ModelFiles:
    """The model of that name among the shipped ones, or in that folder; MODEL+ADAPTER adapted.

    Raises ModelError where it is missing, not understood, or its weights are not the stated ones;
    also where an adapter is, or was trained on other weights.
    """
    model, mark, adapter = str(name_or_path).rpartition(_WITH)
    if mark and not Path(name_or_path).is_dir():
        files, own = _find(model), adapters.find(adapter)
        own.check_base(files.config.name, files.sha256)
        if files.graphs is not None:
            raise ModelError(
                f"{files.path}: is an export, which takes no adapter; name the model that it was "
                "exported from"
            )
        return replace(files, adapter=own)
    return _find(name_or_path)


def _find(name_or_path: str | Path) -> ModelFiles:
    folder = _locate(name_or_path)
    table = _read_config(folder / CONFIG)
    config = _config(table, folder)
    weights, stated = folder / _WEIGHTS, _stated_sha256(table, folder)
    graphs = from_table(table, folder)
    if graphs is None and stated != (actual := _sha256(weights)):
        raise ModelError(
            f"{weights}: is not the file that config.toml describes (SHA-256 {actual[:12]}... "
            f"instead of {stated[:12]}...); fetch the model again"
        )
    facts = table.get("facts", {})
    if not isinstance(facts, dict):
        raise ModelError(f"{folder / CONFIG}: facts must be a table")
    plain = {key: value for key, value in facts.items() if isinstance(value, Fact)}
    return ModelFiles(config, folder, weights, stated, plain, _ladders(table, folder), graphs)


def names() -> list[str]:
    """Names of the models that `find` knows without a path, sorted."""
    found = {config.parent.name for folder in _folders() for config in folder.glob(f"*/{CONFIG}")}
    return sorted(name for name in found if _NAME.fullmatch(name))


def write_config(
    folder: Path,
    config: ModelConfig,
    facts: Mapping[str, Fact] | None = None,
    ladders: Mapping[LrCodec, LadderSteps] | None = None,
) -> ModelFiles:
    """Describe `folder`/model.safetensors, already there, by a config.toml beside it.

    Raises ModelError where there are no weights or the file cannot be written, ValueError for a
    name that is no plain word.
    """
    if not _NAME.fullmatch(config.name):
        raise ValueError(
            f"a model's name is letters, digits, '.', '_' and '-', not {config.name!r}"
        )
    return _write(folder, config, _sha256(folder / _WEIGHTS), facts or {}, ladders or {}, [])


def write_export(folder: Path, files: ModelFiles, graphs: Graphs, more: Mapping[str, Fact]) -> None:
    """Describe the graphs in `folder`, made from `files`, by a config.toml beside them.

    more: facts beside the model's own. Raises ModelError where the file cannot be written.
    """
    facts = {**files.facts, **more}
    _write(folder, files.config, files.sha256, facts, files.ladders, ["", *to_lines(graphs)])


def _write(
    folder: Path,
    config: ModelConfig,
    sha256: str,
    facts: Mapping[str, Fact],
    ladders: Mapping[LrCodec, LadderSteps],
    more: list[str],
) -> ModelFiles:
    lines = [
        f"name = {_toml(config.name)}",
        f"size = {_toml(config.size)}",
        f"format = {config.format}",
        f"sha256 = {_toml(sha256)}",
        "",
        "[ladder]",
        *(f"{codec} = {json.dumps(steps)}" for codec, steps in ladders.items()),
        "",
        "[facts]",
        *(f"{_toml(key)} = {_toml(value)}" for key, value in facts.items()),
        *more,
    ]
    partial = folder / f"{CONFIG}.partial"
    try:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(folder / CONFIG)
    except OSError as exc:
        raise ModelError(f"{folder / CONFIG}: cannot be written ({exc.strerror})") from exc
    return find(folder)


def _folders() -> list[Path]:
    """Where shipped models lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return [package / "models", package.parent / "models"]


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and _NAME.fullmatch(name_or_path):
        for folder in _folders():
            if (folder / name_or_path / CONFIG).is_file():
                return folder / name_or_path
    folder = Path(name_or_path)
    if (folder / CONFIG).is_file():
        return folder
    if folder.is_dir():
        raise ModelError(f"{folder}: holds no config.toml, so it is no model")
    known = ", ".join(names()) or "none is installed"
    raise ModelError(f"no model {str(name_or_path)!r}; name one of these ({known}) or its folder")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read ({exc.strerror})") from exc
    if len(data) > _MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: is larger than {_MAX_CONFIG_BYTES} bytes, no model's config")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ModelError(f"{path}: is not TOML ({exc})") from exc


def _config(table: Mapping[str, Any], folder: Path) -> ModelConfig:
    name, size, version = table.get("name"), table.get("size"), table.get("format")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(f"{folder / CONFIG}: name must be a plain word, not {name!r}")
    if not isinstance(size, str) or size not in _SIZES:
        raise ModelError(f"{folder / CONFIG}: size must be xs, s or l, not {size!r}")
    if type(version) is not int or version != FORMAT:
        raise ModelError(
            f"{folder / CONFIG}: format {version!r} does not fit this version, which runs "
            f"format {FORMAT}; fetch a matching model"
        )
    return ModelConfig(name, _SIZES[size], version)


def _ladders(table: Mapping[str, Any], folder: Path) -> dict[LrCodec, LadderSteps]:
    problem = f"{folder / CONFIG}: ladder"
    stated = table.get("ladder", {})
    if not isinstance(stated, dict) or not stated.keys() <= set(get_args(LrCodec)):
        raise ModelError(f"{problem} must be a table of {', '.join(get_args(LrCodec))}")
    return {codec: _steps(steps, f"{problem}.{codec}") for codec, steps in stated.items()}


def _steps(stated: object, problem: str) -> LadderSteps:
    if not isinstance(stated, list) or not 0 < len(stated) <= _MAX_STEPS:
        raise ModelError(f"{problem} must be a list of at most {_MAX_STEPS} steps")
    steps = []
    for step in stated:
        match step:
            case [int() | float() as kbps, int() as px] if (
                0 <= kbps <= MAX_KBPS and MIN_LR_PX <= px <= MAX_LR_PX and not px % 16
            ):
                steps.append((float(kbps), px))
            case _:
                raise ModelError(f"{problem}: {step!r} is not [least kbps, LR size in px]")
    rates = [kbps for kbps, _ in steps]
    if rates != sorted(set(rates), reverse=True) or rates[-1] != 0:
        raise ModelError(f"{problem} must go from the highest rate down to 0")
    return tuple(steps)


def _stated_sha256(table: Mapping[str, Any], folder: Path) -> str:
    stated = table.get("sha256")
    if not isinstance(stated, str) or not re.fullmatch("[0-9a-f]{64}", stated):
        raise ModelError(f"{folder / CONFIG}: sha256 must be 64 hexadecimal digits")
    return stated


def _sha256(weights: Path) -> str:
    try:
        if weights.stat().st_size > _MAX_WEIGHTS_BYTES:
            raise ModelError(f"{weights}: is larger than {_MAX_WEIGHTS_BYTES} bytes, no model's")
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelError(
            f"{weights}: cannot be read ({exc.strerror}); fetch the model again"
        ) from exc


def _toml(value: Fact) -> str:
    """`value` as TOML; JSON's strings, numbers and booleans are TOML's, but for DEL and NaN."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
