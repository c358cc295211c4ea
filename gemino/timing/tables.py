"""What a benchmark publishes: tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemino.errors import MediaError
from gemino.evaluation.tables import Table
from gemino.timing.bench import Record
from gemino.timing.pipeline import END_TO_END, WHOLE

FORMAT = 1
_HOW = (
    "Floor: all arithmetic at the rate of this machine's fastest convolution, and each byte moved "
    "once. x: synthesis as a multiple of the floor, of VP8's encoding and decoding at the same "
    "size, and of cubic upsampling, by {basis}."
)
_BUSY = 0.8
_STRONG = (WHOLE, END_TO_END)
_FIGURES = ("p50_ms", "p95_ms", "p99_ms", "cpu_p50_ms")


def published(records: Sequence[Record]) -> list[Table]:
    """Two tables with a row for each case, and one of stages for each."""
    return [costs(records), times(records), *(stages(record) for record in records)]


def costs(records: Sequence[Record]) -> Table:
    """Every case: what a frame costs, and how that stands to the floor and to others."""
    rows = [
        [
            *_case(record),
            f"{record['gmac']:.2f}",
            f"{record['weights_mb']:.1f}",
            f"{record['peak_rss_mb']:.0f}",
            f"{record['floor_ms']:.1f}",
            *(f"{record['ratios'][name]:.1f}" for name in ("floor", "vp8", "bicubic")),
        ]
        for record in records
    ]
    figures = ["GMAC", "weights MB", "peak RSS MB", "floor ms", "x floor", "x VP8", "x bicubic"]
    heading = f"One frame on {machine(records[0])}"
    return Table(heading, ["model", "px", *figures], rows, _HOW.format(basis=_basis(records)))


def times(records: Sequence[Record]) -> Table:
    """Every case: how long a frame takes."""
    rows = []
    for record in records:
        whole, both = (record["stages"][name] for name in (WHOLE, END_TO_END))
        row = [*_case(record), _run(record), *(f"{whole[figure]:.1f}" for figure in _FIGURES)]
        rows.append([*row, f"{both['p50_ms']:.1f}", f"{both['cpu_p50_ms']:.1f}"])
    figures = ["synthesis p50 ms", "p95", "p99", "CPU ms", "end to end p50 ms", "CPU ms"]
    return Table("Time of a frame", ["model", "px", "run", *figures], rows, _warnings(records))


def stages(record: Record) -> Table:
    """One case: every stage."""
    named = record["stages"]
    rows = [
        [name, *(f"{timing[figure]:.2f}" for figure in _FIGURES), str(timing["runs"])]
        for name, timing in named.items()
    ]
    rates = "; ".join(f"{name} {rate:.0f} GMAC/s" for name, rate in record["gmac_per_s"].items())
    return Table(
        f"{record['model']}, {record['output_px']} px from {record['lr_px']} px, {_run(record)}",
        ["stage", "p50 ms", "p95", "p99", "CPU ms", "runs"],
        rows,
        f"This machine's floor, {record['floor_ms']:.1f} ms: {rates}; memory "
        f"{record['memory_gb_per_s']:.0f} GB/s for at least {record['moved_mb']:.1f} MB a frame.",
        frozenset(at for at, name in enumerate(named) if name in _STRONG),
    )


def machine(record: Record) -> str:
    """The machine in a line."""
    facts = record["machine"]
    isa = " ".join(facts["isa"]) or facts["capability"]
    gpu = "" if facts["gpu"] is None else f", {facts['gpu']}"
    return f"{facts['cpu']}, {facts['cores']} cores, {isa}{gpu}, torch {facts['torch']}"


def write_json(path: Path, records: Sequence[Record]) -> None:
    """All figures. Raises MediaError where the file cannot be written."""
    _write(path, json.dumps({"format": FORMAT, "cases": list(records)}, indent=1) + "\n")


def write_markdown(path: Path, tables: Sequence[Table]) -> None:
    """The tables. Raises MediaError where the file cannot be written."""
    _write(path, "\n".join(table.markdown() for table in tables))


def check_writable(path: Path) -> None:
    """Raises MediaError, before minutes of work, where `path` has no folder or is one."""
    if path.is_dir() or not path.parent.is_dir():
        raise MediaError(f"{path}: cannot be written (no such folder, or a folder itself)")


def _warnings(records: Sequence[Record]) -> str:
    said = []
    if records[0]["machine"]["gpu"] is None:
        said.append("There is no CUDA device here: a GPU has not been timed.")
    least = min((r["cpu_share"] for r in records if r["device"] == "cpu"), default=1.0)
    if least < _BUSY:
        said.append(
            f"The machine was busy with something else, this process had {least:.0%} of a core: "
            "CPU times say more than the others, and none is to be quoted."
        )
    return " ".join(said)


def _basis(records: Sequence[Record]) -> str:
    names: dict[Any, str] = {"cpu_p50_ms": "CPU time", "p50_ms": "time that passes"}
    return " or ".join(sorted({names[record["ratios_of"]] for record in records}))


def _case(record: Record) -> list[str]:
    return [record["model"], str(record["output_px"])]


def _run(record: Record) -> str:
    threads = "1 thread" if record["threads"] == 1 else f"{record['threads']} threads"
    limit = f", no more than {record['isa_limit'].upper()}" if record.get("isa_limit") else ""
    return f"{record['runtime']}, {record['device']}, {record['precision']}, {threads}{limit}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
