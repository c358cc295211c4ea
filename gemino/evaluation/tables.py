"""The tables of an evaluation, for Markdown, a page or a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from gemino.evaluation.bdrate import BdRate
from gemino.evaluation.bench import Record
from gemino.evaluation.report import title
from gemino.evaluation.results import FIGURES, Figure, Results, matches, mean_rate

_NONE = "-"
_NOTE = (
    "Rate for the same LPIPS: -50 % is half the bits. Where two curves share no LPIPS, there is a "
    "bound for the clip, <= or >=, which counts in the last column only; = is at the one LPIPS "
    "that they share."
)


@dataclass(frozen=True, slots=True)
class Table:
    """heading: what it shows. note: how to read it. strong: rows to stress."""

    heading: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    strong: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """The table with its heading, as Markdown."""
        lines = [f"### {self.heading}", "", _row(self.header), "|---" * len(self.header) + "|"]
        for at, cells in enumerate(self.rows):
            escaped = [cell.replace("|", "\\|") for cell in cells]
            lines.append(_row([f"**{c}**" for c in escaped] if at in self.strong else escaped))
        return "\n".join([*lines, *(["", self.note] if self.note else [])]) + "\n"


def means(results: Results, size: int, figures: Sequence[Figure] = FIGURES) -> Table:
    """A row for each codec and rate: the figures that there are, averaged over the clips."""
    found: dict[tuple[str, float, float], Record] = {}
    for codec in results.codecs():
        for kbps in results.rates():
            mean = results.means(size, codec, kbps)
            if mean is not None:  # a floor counts once, at the lowest rate asked
                found.setdefault((codec, mean["payload_kbps"], mean["lpips"]), mean)
    shown = [figure for figure in figures if any(figure.key in m for m in found.values())]
    rows: list[list[str]] = []
    strong = set()
    for mean in found.values():
        if str(mean["codec"]).startswith("gemino"):
            strong.add(len(rows))
        star = "*" if mean["at_floor"] else ""
        asked = f"{mean['asked_kbps']:g}{star}"
        rows.append([title(mean["codec"]), asked, *(_cell(mean, figure) for figure in shown)])
    return Table(
        f"Mean of {len(results.clips())} clips, {size} px",
        ["codec", "asked kbps", *(figure.title for figure in shown)],
        rows,
        "\\* the codec could not come down to the rate on every clip." if _starred(rows) else "",
        frozenset(strong),
    )


def clips(results: Results, size: int, kbps: float) -> Table:
    """A row a clip at one rate: each codec's LPIPS and the payload it took; the mean last."""
    codecs = results.codecs()
    header = [
        "clip",
        *(f"{title(codec)}: {part}" for codec in codecs for part in ("LPIPS", "kbps")),
    ]
    rows = []
    for clip in results.clips():
        points = [results.at(clip, size, codec, kbps) for codec in codecs]
        rows.append([clip, *(cell for point in points for cell in _pair(point))])
    averaged = [results.means(size, codec, kbps) for codec in codecs]
    rows.append(["mean", *(cell for point in averaged for cell in _pair(point))])
    ours, *others = codecs
    notes = []
    if ours.startswith("gemino"):
        for anchor in others:
            won, of = results.wins(size, ours, anchor, kbps)
            notes.append(f"{title(anchor)} on {won} of {of}")
    note = f"{title(ours)} has the lower LPIPS than " + ", ".join(notes) + "." if notes else ""
    return Table(
        f"Each clip, {size} px, asked for {kbps:g} kbps",
        header,
        rows,
        note,
        frozenset([len(rows) - 1]),
    )


def bd_rates(results: Results, size: int, low_kbps: float, high_kbps: float) -> list[Table]:
    """BD-rates: a row for each pair of codecs, and a row for each clip; none for single points.

    Raises RuntimeUnavailable without the package `bjontegaard`.
    """
    found = {
        pair: rates
        for pair in matches(results.codecs())
        if (rates := results.bd_rates(size, *pair, low_kbps, high_kbps))
    }
    if not found or len(results.rates()) < 2:
        return []
    names = {pair: f"{title(pair[0])} against {title(pair[1])}" for pair in found}
    heading = f"BD-rate on LPIPS, {low_kbps:g} to {high_kbps:g} kbps, {size} px"
    summary = [
        [name, _mean(found[pair].values()), *_bounds(found[pair].values()), _of_all(found[pair])]
        for pair, name in names.items()
    ]
    rows = [
        [clip, *(_rate(rates.get(clip)) for rates in found.values())] for clip in results.clips()
    ]
    return [
        Table(
            heading,
            ["codecs", "mean", "over clips", "better, no overlap", "worse, no overlap", "of all"],
            summary,
            _NOTE,
        ),
        Table(f"{heading}, each clip", ["clip", *names.values()], rows),
    ]


def _rate(rate: BdRate | None) -> str:
    if rate is None:
        return _NONE
    signs = {"mean": "", "at one quality": "= ", "at most": "<= ", "at least": ">= "}
    shared = f" (overlap {rate.overlap:.0%})" if rate.kind == "mean" else ""
    return f"{signs[rate.kind]}{rate.percent:+.0f} %{shared}"


def _mean(rates: Iterable[BdRate]) -> str:
    averaged = mean_rate(rates)
    return _NONE if averaged is None else f"{averaged[0]:+.0f} %"


def _bounds(rates: Iterable[BdRate]) -> list[str]:
    """How many clips the mean is over, and how many have a bound on either side."""
    kinds = [rate.kind for rate in rates]
    return [f"{kinds.count(kind)}" for kind in ("mean", "at most", "at least")]


def _of_all(rates: Mapping[str, BdRate]) -> str:
    """The mean over all clips, bounds taken as values: itself a bound, if to one side only."""
    kinds = {rate.kind for rate in rates.values()}
    if {"at most", "at least"} <= kinds:
        return _NONE
    sign = "<= " if "at most" in kinds else ">= " if "at least" in kinds else ""
    return f"{sign}{fmean(rate.percent for rate in rates.values()):+.0f} %"


def _pair(point: Record | None) -> list[str]:
    if point is None:
        return [_NONE, _NONE]
    return [f"{point['lpips']:.3f}", f"{point['payload_kbps']:.1f}"]


def _cell(point: Record, figure: Figure) -> str:
    value = point.get(figure.key)
    return _NONE if value is None else f"{value * figure.factor:.{figure.digits}f}"


def _starred(rows: Iterable[Sequence[str]]) -> bool:
    return any(row[1].endswith("*") for row in rows)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
