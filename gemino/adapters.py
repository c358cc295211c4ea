"""Adapters as files: small, and never opened without being checked.

A personal adapter is a folder with `adapter.safetensors` (and a card and pictures for people). Its
tensors are float16, NAME.up, NAME.down and NAME.shift for each convolution NAME that it changes
(`gemino.nn.adapter`), and `likeness` [n, 128], by which its owner's face is known
(`gemino.identity`); its metadata hold `format`, `name` of the person, `base` and `base_sha256`,
name and checksum of the weights that it was trained on, for on others it means nothing, and
`serves`: at which sizes it drew better than they do (`512:128` is pictures of 512 px from LR
pictures of 128). At others it is not used.
It may come from a peer: size, header, shapes and values are bounded here, whether they fit the
network is checked where they meet it. This module knows nothing of torch.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gemino.errors import ModelError
from gemino.identity import FEATURES, MAX_KEPT
from gemino.wire import MAX_ADAPTER_BYTES

FILE = "adapter.safetensors"
FORMAT = "gemino-adapter-2"
_MAX_HEADER_BYTES = 64 * 1024
_MAX_TENSORS = 512
_BY_HASH = "sha256:"
_LEAST_DIGITS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TENSOR = re.compile(r"[a-z0-9_.]{1,96}\.(up|down|shift)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SERVES = re.compile(r"([1-9][0-9]{1,3}:[1-9][0-9]{1,3})( [1-9][0-9]{1,3}:[1-9][0-9]{1,3}){0,63}")
_LIKENESS = "likeness"
_MOST = 64.0  # of any value; honest ones are below 4


class Size(NamedTuple):
    """Of pictures drawn, and of the LR pictures that they are drawn from, px."""

    output_px: int
    lr_px: int


@dataclass(frozen=True, slots=True, eq=False)
class AdapterFile:
    """An adapter that was read. name: the person's. base, base_sha256: the weights it is for.

    sha256: of the file. serves: where it drew better than those weights alone. tensors: float16,
    by name. likeness: float16 [n, 128], of the person's face.
    """

    name: str
    base: str
    base_sha256: str
    sha256: str
    serves: frozenset[Size]
    tensors: Mapping[str, NDArray[np.float16]] = field(repr=False)
    likeness: NDArray[np.float16] = field(repr=False)

    @property
    def hash_name(self) -> str:
        """A name that says nothing of the person, and that `find` knows."""
        return f"{_BY_HASH}{self.sha256[:_LEAST_DIGITS]}"

    def check_base(self, name: str, sha256: str) -> None:
        """Raises ModelError unless these weights are the ones that it was trained on."""
        if self.base_sha256 != sha256:
            raise ModelError(
                f"adapter {self.name!r} was trained on another model ({self.base}, SHA-256 "
                f"{self.base_sha256[:12]}...) than {name} ({sha256[:12]}...); name that model, or "
                "run gemino personalize again"
            )


def folders() -> list[Path]:
    """Where personal adapters lie: below the working folder, or in a checkout."""
    return [Path("models") / "personal", Path(__file__).resolve().parents[1] / "models/personal"]


def find(name_or_path: str | Path) -> AdapterFile:
    """The adapter of that name, in that folder or file, or `sha256:` and so many of its digits.

    Raises ModelError where it is missing or bad.
    """
    wanted = str(name_or_path)
    if wanted.startswith(_BY_HASH):
        return _find_by_hash(wanted.removeprefix(_BY_HASH))
    return _read(_locate(name_or_path))[0]


def find_data(name_or_path: str | Path) -> tuple[AdapterFile, bytes]:
    """The adapter of that name, or in that folder or file, and the bytes of its file; as `find`."""
    return _read(_locate(name_or_path))


def _locate(name_or_path: str | Path) -> Path:
    wanted, path = str(name_or_path), Path(name_or_path)
    if _NAME.fullmatch(wanted):
        places = [folder / wanted / FILE for folder in folders()]
        path = next((place for place in places if place.is_file()), path)
    if path.is_dir():
        path /= FILE
    if not path.is_file():
        raise ModelError(
            f"no adapter {wanted!r}; make one with gemino personalize VIDEO --name {path.name}, "
            "or name its folder"
        )
    return path


def _find_by_hash(digits: str) -> AdapterFile:
    if len(digits) < _LEAST_DIGITS:
        raise ModelError(f"an adapter's SHA-256 needs {_LEAST_DIGITS} digits, not {digits!r}")
    for folder in folders():
        for path in sorted(folder.glob(f"*/{FILE}")):
            try:
                found, _ = _read(path)
            except ModelError:
                continue  # another one, and damaged; it is not asked for
            if found.sha256.startswith(digits):
                return found
    raise ModelError(
        f"no adapter here has the SHA-256 {digits}...; ask its owner for the file and put it into "
        f"{folders()[0]}/NAME/{FILE}"
    )


def _read(path: Path) -> tuple[AdapterFile, bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ADAPTER_BYTES + 1)
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read ({exc.strerror})") from exc
    try:
        return parse(data), data
    except ModelError as exc:
        raise ModelError(f"{path}: {exc}") from exc


def parse(data: bytes) -> AdapterFile:
    """The adapter in `data`, from a file or a peer. ModelError where it is none."""
    if len(data) > MAX_ADAPTER_BYTES:
        raise ModelError(f"is larger than {MAX_ADAPTER_BYTES} bytes, no adapter")
    metadata = _metadata(data)
    if metadata.get("format") != FORMAT:
        raise ModelError(f"is no adapter of format {FORMAT}")
    name, base, sha256 = (metadata.get(key, "") for key in ("name", "base", "base_sha256"))
    if not (_NAME.fullmatch(name) and _NAME.fullmatch(base) and _SHA256.fullmatch(sha256)):
        raise ModelError("does not say whose adapter it is and for which weights")
    serves = metadata.get("serves", "")
    if not _SERVES.fullmatch(serves):
        raise ModelError("does not say at which sizes it serves; fetch or train it again")
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as exc:
        raise ModelError("is a damaged adapter; fetch or train it again") from exc
    likeness = tensors.pop(_LIKENESS, None)
    if likeness is None or likeness.ndim != 2 or not _is_likeness(likeness):
        raise ModelError("does not say whose face it is for; fetch or train it again")
    if not tensors:
        raise ModelError("is an adapter that changes nothing")
    for key, values in tensors.items():
        if not _TENSOR.fullmatch(key) or values.dtype != np.float16:
            raise ModelError(f"holds {key[:96]!r} of type {values.dtype}, which no adapter has")
        if not values.size or values.ndim not in (1, 2, 4):
            raise ModelError(f"holds {key} of shape {values.shape}, which no adapter has")
        if not np.isfinite(values).all() or np.abs(values).max() > _MOST:
            raise ModelError(f"holds values in {key} that no training gives; train it again")
    digest = hashlib.sha256(data).hexdigest()
    sizes = frozenset(Size(*map(int, pair.split(":"))) for pair in serves.split(" "))
    return AdapterFile(name, base, sha256, digest, sizes, tensors, likeness)


def _is_likeness(values: NDArray[np.generic]) -> bool:
    """Whether these are vectors as `identity.describe` gives them: of length 1."""
    if values.dtype != np.float16 or not 0 < len(values) <= MAX_KEPT:
        return False
    lengths = np.linalg.norm(values.astype(np.float32), axis=1)
    return values.shape[1] == FEATURES and bool((np.abs(lengths - 1) < 0.01).all())


def to_bytes(
    name: str,
    base: str,
    base_sha256: str,
    tensors: Mapping[str, NDArray[np.floating]],
    likeness: NDArray[np.floating],
    serves: Iterable[Size],
) -> bytes:
    """`tensors`, trained on the model `base`, as a file that `parse` reads.

    Raises ValueError for a name that is no plain word, ModelError where that file would be too
    large or hold what no adapter may.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a name is letters, digits, '.', '_' and '-', not {name!r}")
    metadata = {
        "format": FORMAT,
        "name": name,
        "base": base,
        "base_sha256": base_sha256,
        "serves": " ".join(f"{size.output_px}:{size.lr_px}" for size in sorted(serves)),
    }
    whole = {**tensors, _LIKENESS: likeness}
    halves = {key: np.ascontiguousarray(x, np.float16) for key, x in sorted(whole.items())}
    data = save(halves, metadata)
    parse(data)
    return data


def _metadata(data: bytes) -> dict[str, str]:
    """The strings that a safetensors file holds in its header beside its tensors."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, len(data) - 8):
        raise ModelError("is no adapter: it has no header that makes sense")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as exc:
        raise ModelError("is no adapter: its header is damaged") from exc
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise ModelError("is no adapter: its header is damaged")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict):
        raise ModelError("is no adapter: it says nothing about itself")
    return {str(key): value for key, value in metadata.items() if isinstance(value, str)}
