"""An evaluation from end to end but for the measuring: what to measure, and what to publish."""

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from gemino.errors import GeminoError, MediaError, RuntimeUnavailable
from gemino.evaluation import bdrate, curves, page, strips, tables
from gemino.evaluation.bench import Record, Settings, Task, place
from gemino.evaluation.clips import find, names
from gemino.evaluation.pictures import encode, save
from gemino.evaluation.results import FIGURES, Results, claim, load, summary
from gemino.evaluation.results import save as save_results
from gemino.evaluation.specs import Spec
from gemino.frames import Frame
from gemino.media import probe

_BRIEF_KEYS = ("payload_kbps", "onwire_kbps", "lpips", "lpips_worst5", "lpips_mouth", "lpips_eyes")
_BRIEF = tuple(figure for figure in FIGURES if figure.key in _BRIEF_KEYS)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go; None: nowhere. strip_kbps: rate of strips and of tables by clip.

    bd_kbps: the rates of Gemino that BD-rates are over.
    """

    json: Path | None = None
    html: Path | None = None
    plots: Path | None = None
    strips: Path | None = None
    strip_kbps: float = 15.0
    bd_kbps: tuple[float, float] = (8.0, 40.0)

    @property
    def panels(self) -> Path | None:
        """Where the parts of strips lie, so that --resume has them."""
        return None if self.strips is None else self.strips / "panels"

    def prepare(self) -> None:
        """Make the folders, before hours of work.

        Raises MediaError where one cannot be written to, RuntimeUnavailable where plots are
        wanted and matplotlib is not installed.
        """
        if (self.html or self.plots) and importlib.util.find_spec("matplotlib") is None:
            raise RuntimeUnavailable(
                "--html and --plots need matplotlib: pip install 'gemino[evaluation]'"
            )
        for path in (self.json, self.html):
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                raise MediaError(f"{path}: cannot be written (no such folder, or a folder itself)")
        for folder in (self.plots, self.panels):
            if folder is not None:
                _make(folder)

    def claimed(self) -> AbstractContextManager[None]:
        """Keeps other evaluations off the JSON file; MediaError where one is writing it."""
        return nullcontext() if self.json is None else claim(self.json)

    def keep(self, results: Results) -> None:
        """Write the points so far, if a file was named."""
        if self.json is not None:
            save_results(self.json, results, {})

    def publish(self, results: Results) -> list[tables.Table]:
        """Write everything that was asked for; returns what of it a terminal can show.

        Raises MediaError where something cannot be written.
        """
        if self.json is not None:
            extra = summary(results, *self.bd_kbps) if bdrate.available() else {}
            save_results(self.json, results, extra)
        sections = [self._section(results, size) for size in results.sizes()]
        if self.html is not None:
            page.write(self.html, results, sections)
        shown = []
        for size in results.sizes():
            shown.append(tables.means(results, size, _BRIEF))
            if bdrate.available():
                shown += tables.bd_rates(results, size, *self.bd_kbps)[:1]
        return shown

    def _section(self, results: Results, size: int) -> page.Section:
        found = [tables.means(results, size)]
        if bdrate.available():
            found += tables.bd_rates(results, size, *self.bd_kbps)
        found.append(tables.clips(results, size, self.strip_kbps))
        return page.Section(size, found, self._plots(results, size), self._strips(results, size))

    def _plots(self, results: Results, size: int) -> list[bytes]:
        if self.html is None and self.plots is None:
            return []
        drawn = {
            f"means-{size}.png": curves.means(results, size),
            f"clips-{size}.png": curves.by_clip(results, size),
        }
        if self.plots is not None:
            for name, picture in drawn.items():
                curves.save(self.plots, name, picture)
        return list(drawn.values())

    def _strips(self, results: Results, size: int) -> dict[str, bytes]:
        if self.strips is None or self.panels is None:
            return {}
        made: dict[str, Frame] = {}
        for clip in results.clips():
            whole = strips.strip(results, self.panels, clip, size, self.strip_kbps)
            if whole is not None:
                made[clip] = whole
                save(self.strips / f"{clip}-{size}.png", whole)
        return {clip: encode(whole, ".jpg") for clip, whole in made.items()}


def plan(
    clips: Sequence[Path],
    sizes: Sequence[int],
    specs: Sequence[Spec],
    rates: Sequence[float],
    more: Mapping[str, Sequence[float]],
) -> list[Task]:
    """All points to measure. more: further rates, by the name of the codec.

    Raises MediaError for a clip that is missing, ModelError for a model likewise, and GeminoError
    for a codec of `more` that is not among `specs`.
    """
    for spec in specs:
        spec.sha256()
    unknown = [name for name in more if name not in [spec.name for spec in specs]]
    if unknown:
        raise GeminoError(f"--more-kbps: {unknown[0]} is not among --codecs")
    found = find(clips)
    if len(found) == 1:
        probe(found[0])
    return [
        Task(clip, name, size, spec, kbps)
        for clip, name in zip(found, names(found), strict=True)
        for size in sizes
        for spec in specs
        for kbps in sorted({*rates, *more.get(spec.name, ())})
    ]


def begin(
    outputs: Outputs, settings: Settings, tasks: Sequence[Task], *, resume: bool
) -> tuple[Results, list[Record]]:
    """Results to fill, and the points that need not be measured again.

    When resuming, points that are none of `tasks` stay in the results. Raises MediaError for a
    file of another kind, GeminoError for one that was measured in another way.
    """
    results = Results(settings.identity())
    if not resume or outputs.json is None or not outputs.json.exists():
        return results, []
    former = load(outputs.json)
    for name, value in results.settings.items():
        if former.settings.get(name) != value:
            raise GeminoError(
                f"{outputs.json}: was measured with {name} {former.settings.get(name)}, not "
                f"{value}; use the same options, or another file"
            )
    planned = {task.place for task in tasks}
    results.points.extend(point for point in former.points if place(point) not in planned)
    return results, former.points


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder}: cannot be written to ({error.strerror})") from error
