"""A model exported for another runtime: which graphs a folder holds, and reading them checked.

Beside its graphs an export's config.toml says what the model's own does (`gemino.zoo`), and in
a table `[graphs]`: `format`, `output_px`, `precision`, and under each graph's name the SHA-256 of
its file NAME.onnx. The graphs draw pictures of one size from LR pictures of any.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gemino.config import OUTPUT_SIZES_PX
from gemino.errors import ModelError

GRAPHS_FORMAT = 1
"""Raised when former exports no longer fit the code that runs them."""
GRAPH_NAMES = ("encode", "align", "draw")
"""The reference's features; flow, gates and features to draw with; the residual."""
GraphPrecision = Literal["float32", "int8"]

_MAX_GRAPH_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Graphs:
    """What the table says. path: the folder. sha256: of each file, by graph, in hexadecimal."""

    path: Path
    output_px: int
    precision: GraphPrecision
    sha256: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """The graph's file; ModelError where it is missing or not the one that is stated."""
        path = graph_path(self.path, name)
        data = read_graph(path)
        if hashlib.sha256(data).hexdigest() != self.sha256[name]:
            raise ModelError(
                f"{path}: is not the file that config.toml describes; export the model again"
            )
        return data


def graph_path(folder: Path, name: str) -> Path:
    """Where a graph lies in its export."""
    return folder / f"{name}.onnx"


def read_graph(path: Path) -> bytes:
    """The whole file; ModelError where it cannot be read or is no graph by its size."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_GRAPH_BYTES + 1)
    except OSError as exc:
        raise ModelError(
            f"{path}: cannot be read ({exc.strerror}); export the model again"
        ) from exc
    if len(data) > _MAX_GRAPH_BYTES:
        raise ModelError(f"{path}: is larger than {_MAX_GRAPH_BYTES} bytes, no model's graph")
    return data


def describe(folder: Path, output_px: int, precision: GraphPrecision) -> Graphs:
    """The graphs that lie in `folder`, as they are now; ModelError where one is missing."""
    sums = {
        name: hashlib.sha256(read_graph(graph_path(folder, name))).hexdigest()
        for name in GRAPH_NAMES
    }
    return Graphs(folder, output_px, precision, sums)


def to_lines(graphs: Graphs) -> list[str]:
    """The table, as lines of TOML."""
    return [
        "[graphs]",
        f"format = {GRAPHS_FORMAT}",
        f"output_px = {graphs.output_px}",
        f'precision = "{graphs.precision}"',
        *(f'{name} = "{graphs.sha256[name]}"' for name in GRAPH_NAMES),
    ]


def from_table(table: Mapping[str, Any], folder: Path) -> Graphs | None:
    """What a config.toml says of graphs; None where the folder is no export.

    Raises ModelError where the table is of another format or makes no sense.
    """
    stated = table.get("graphs")
    if stated is None:
        return None
    problem = f"{folder / 'config.toml'}: graphs"
    if not isinstance(stated, dict):
        raise ModelError(f"{problem} must be a table")
    version, output_px = stated.get("format"), stated.get("output_px")
    if type(version) is not int or version != GRAPHS_FORMAT:
        raise ModelError(
            f"{problem}.format {version!r} does not fit this version, which runs "
            f"format {GRAPHS_FORMAT}; export the model again"
        )
    if type(output_px) is not int or output_px not in OUTPUT_SIZES_PX:
        sizes = ", ".join(map(str, OUTPUT_SIZES_PX))
        raise ModelError(f"{problem}.output_px must be one of {sizes}, not {output_px!r}")
    for precision in get_args(GraphPrecision):
        if stated.get("precision") == precision:
            break
    else:
        raise ModelError(f"{problem}.precision must be float32 or int8")
    return Graphs(folder, output_px, precision, _sums(stated, problem))


def _sums(stated: Mapping[str, Any], problem: str) -> dict[str, str]:
    sums = {}
    for name in GRAPH_NAMES:
        value = stated.get(name)
        if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
            raise ModelError(f"{problem}.{name} must be a SHA-256 of 64 hexadecimal digits")
        sums[name] = value
    return sums
