"""The results of an evaluation: points in a file, and what follows from them.

The file is JSON: `format`, `settings` (what all points have in common), `points`, `machine`, and,
once the evaluation is complete, `bd_rate` and `mean` (docs/evaluation.md).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from gemino.errors import MediaError
from gemino.evaluation.bdrate import BdRate, Point, bd_rate
from gemino.evaluation.bench import Record
from gemino.evaluation.report import machine

_FORMAT = 2
_MAX_FILE_BYTES = 200_000_000
_TEXTS = ("clip", "codec")
_NUMBERS = ("size", "asked_kbps", "payload_kbps", "onwire_kbps", "lpips")


class Figure(NamedTuple):
    """A column: the key in a record, a heading, digits after the point, a factor for display."""

    key: str
    title: str
    digits: int
    factor: float = 1.0


FIGURES = (
    Figure("payload_kbps", "payload kbps", 1),
    Figure("onwire_kbps", "on wire kbps", 1),
    Figure("lpips", "LPIPS", 3),
    Figure("lpips_first_pass", "first pass", 3),
    Figure("lpips_vgg", "LPIPS VGG", 3),
    Figure("lpips_worst5", "worst 5 %", 3),
    Figure("lpips_mouth", "mouth LPIPS", 3),
    Figure("lpips_eyes", "eyes LPIPS", 3),
    Figure("psnr_mouth_db", "mouth PSNR", 1),
    Figure("psnr_eyes_db", "eyes PSNR", 1),
    Figure("mouth_error", "mouth error %", 2, 100),
    Figure("flicker", "flicker", 3),
    Figure("psnr_db", "PSNR", 1),
    Figure("ssim", "SSIM", 3),
    Figure("lpips_unscaled", "LPIPS 0..1", 3),
    Figure("ssim_256", "SSIM 256", 3),
    Figure("startup_s", "start s", 2),
    Figure("startup_thin_s", "start thin s", 1),
    Figure("startup_bytes", "start kB", 1, 0.001),
)


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """The points measured so far, in any order. settings: `Settings.identity`."""

    settings: Mapping[str, Any]
    points: list[Record] = field(default_factory=list)

    def clips(self) -> list[str]:
        return sorted({str(point["clip"]) for point in self.points})

    def sizes(self) -> list[int]:
        return sorted({int(point["size"]) for point in self.points})

    def codecs(self) -> list[str]:
        """In the order in which they first occur."""
        return list(dict.fromkeys(str(point["codec"]) for point in self.points))

    def rates(self) -> list[float]:
        """The rates that were asked of every codec that came down to them."""
        return sorted({float(point["asked_kbps"]) for point in self.points})

    def curve(self, clip: str, size: int, codec: str) -> list[Record]:
        """A codec's points on a clip, by rising rate asked."""
        wanted = (clip, size, codec)
        found = [p for p in self.points if (p["clip"], p["size"], p["codec"]) == wanted]
        return sorted(found, key=lambda point: float(point["asked_kbps"]))

    def at(self, clip: str, size: int, codec: str, kbps: float) -> Record | None:
        """The point asked for `kbps`, or the floor of a codec that cannot come down to it."""
        curve = self.curve(clip, size, codec)
        for point in curve:
            if point["asked_kbps"] == kbps:
                return point
        if curve and curve[0].get("floor") and curve[0]["asked_kbps"] > kbps:
            return curve[0]
        return None

    def means(self, size: int, codec: str, kbps: float) -> Record | None:
        """A codec's figures averaged over all clips; None unless it was measured on each."""
        found = [self.at(clip, size, codec, kbps) for clip in self.clips()]
        points = [point for point in found if point is not None]
        if not points or len(points) < len(found):
            return None
        averaged: Record = {"size": size, "codec": codec, "asked_kbps": kbps}
        for figure in FIGURES:
            values = [point.get(figure.key) for point in points]
            there = [float(value) for value in values if value is not None]
            if there and len(there) == len(values):
                averaged[figure.key] = round(fmean(there), 5)
        averaged["at_floor"] = sum(bool(point.get("floor")) for point in points)
        return averaged

    def bd_rates(
        self, size: int, codec: str, anchor: str, low_kbps: float, high_kbps: float
    ) -> dict[str, BdRate]:
        """By clip, `codec`'s rate against `anchor`'s at equal LPIPS.

        Of `codec`, the points that were asked for low_kbps..high_kbps count; of `anchor`, all.
        Raises RuntimeUnavailable without the package `bjontegaard`.
        """
        rates: dict[str, BdRate] = {}
        for clip in self.clips():
            ours = [
                point
                for point in self.curve(clip, size, codec)
                if low_kbps <= point["asked_kbps"] <= high_kbps
            ]
            found = bd_rate(_points(self.curve(clip, size, anchor)), _points(ours))
            if found is not None:
                rates[clip] = found
        return rates

    def wins(self, size: int, codec: str, anchor: str, kbps: float) -> tuple[int, int]:
        """On how many clips `codec` has the lower LPIPS at `kbps`, and of how many."""
        pairs = [
            (self.at(clip, size, codec, kbps), self.at(clip, size, anchor, kbps))
            for clip in self.clips()
        ]
        both = [(a["lpips"], b["lpips"]) for a, b in pairs if a is not None and b is not None]
        return sum(a < b for a, b in both), len(both)

    def to_json(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Everything, as values for json.dumps; with what `summary` made, or nothing yet."""
        return {
            "format": _FORMAT,
            "settings": dict(self.settings),
            "points": self.points,
            **extra,
            "machine": machine(),
        }


def summary(results: Results, low_kbps: float, high_kbps: float) -> dict[str, Any]:
    """Means over the clips and, between every codec of ours and every anchor, BD-rates."""
    means = [
        mean
        for size in results.sizes()
        for codec in results.codecs()
        for kbps in results.rates()
        if (mean := results.means(size, codec, kbps)) is not None
    ]
    rows = [
        {"size": size, "codec": codec, "anchor": anchor, "clip": clip, **rate._asdict()}
        for size in results.sizes()
        for codec, anchor in matches(results.codecs())
        for clip, rate in results.bd_rates(size, codec, anchor, low_kbps, high_kbps).items()
    ]
    rounded = [
        row | {"percent": round(row["percent"], 2), "overlap": round(row["overlap"], 3)}
        for row in rows
    ]
    return {"mean": means, "bd_kbps": [low_kbps, high_kbps], "bd_rate": rounded}


def matches(codecs: Sequence[str]) -> list[tuple[str, str]]:
    """Which codec is held against which: each Gemino against everything else, then each other."""
    ours = [codec for codec in codecs if codec.startswith("gemino")]
    others = [codec for codec in codecs if codec not in ours]
    among = [(ours[at], ours[0]) for at in range(1, len(ours))]
    return [(codec, anchor) for codec in ours for anchor in others] + among


def mean_rate(rates: Iterable[BdRate]) -> tuple[float, int] | None:
    """The mean over the clips with a true BD-rate, and how many; None where there is none."""
    true = [rate.percent for rate in rates if rate.kind == "mean"]
    return (fmean(true), len(true)) if true else None


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Keep other processes from claiming `path`, which is to be written point by point.

    A lock of the operating system on `path`.lock, which ends with the process however that ends.
    Raises MediaError where another process has claimed it, or the lock cannot be written.
    """
    beside = path.with_name(path.name + ".lock")
    lock = FileLock(beside, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise MediaError(
            f"{path}: another evaluation is writing it; let that end, or name another file"
        ) from error
    except OSError as error:
        raise MediaError(f"{beside}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        # While it is held, so that nobody can hold a file that is gone; Windows does it on release.
        with suppress(OSError):
            beside.unlink()
        lock.release()


def save(path: Path, results: Results, extra: Mapping[str, Any]) -> None:
    """Write the file whole or not at all; raises MediaError where it cannot be written."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(json.dumps(results.to_json(extra), indent=1) + "\n")
        beside.replace(path)
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error


def load(path: Path) -> Results:
    """Read what `save` wrote; raises MediaError for anything else."""
    problem = f"{path}: is no result of `gemino evaluate --json`"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise MediaError(f"{problem}: too large")
        stored = json.loads(path.read_text())
        if stored["format"] != _FORMAT:
            raise MediaError(f"{problem} of this version")
        settings, points = dict(stored["settings"]), list(stored["points"])
        good = all(_is_record(point) for point in points)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MediaError(problem) from error
    if not good:
        raise MediaError(f"{problem}: a point lacks its figures")
    return Results(settings, points)


def _is_record(point: object) -> bool:
    if not isinstance(point, dict):
        return False
    texts = all(isinstance(point.get(key), str) for key in _TEXTS)
    optional = [point[f.key] for f in FIGURES if point.get(f.key) is not None]
    return texts and all(map(_is_number, [*(point.get(key) for key in _NUMBERS), *optional]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _points(curve: Iterable[Record]) -> list[Point]:
    return [Point(float(point["payload_kbps"]), float(point["lpips"])) for point in curve]
