"""The report of an evaluation: one HTML file with plots, tables and strips inside."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2

from gemino.errors import MediaError
from gemino.evaluation.report import machine
from gemino.evaluation.results import Results
from gemino.evaluation.tables import Table

_TEMPLATE = "evaluation.html.j2"


@dataclass(frozen=True, slots=True)
class Section:
    """What there is of one size. plots: .png files; strips: .jpg files, by clip."""

    size: int
    tables: Sequence[Table]
    plots: Sequence[bytes]
    strips: Mapping[str, bytes]


def write(path: Path, results: Results, sections: Sequence[Section]) -> None:
    """Write the page; raises MediaError where it cannot be written."""
    source = (files(__package__) / _TEMPLATE).read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    page = environment.from_string(source).render(
        sections=sections,
        settings=results.settings,
        points=len(results.points),
        missing=_missing(results),
        machine=machine(),
    )
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error


def _missing(results: Results) -> dict[str, list[str]]:
    """Why eyes and mouths were not measured, and of which clips."""
    reasons: dict[str, list[str]] = {}
    for point in results.points:
        reason, clip = str(point.get("regions_missing", "")), str(point["clip"])
        if reason and clip not in reasons.setdefault(reason, []):
            reasons[reason].append(clip)
    return reasons
