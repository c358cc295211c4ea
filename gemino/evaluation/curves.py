"""Rate-distortion plots."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gemino.errors import MediaError, RuntimeUnavailable
from gemino.evaluation.bench import Record
from gemino.evaluation.report import title
from gemino.evaluation.results import Figure, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PLOTTED = (
    Figure("lpips", "LPIPS", 3),
    Figure("lpips_worst5", "LPIPS of the worst 5 %", 3),
    Figure("lpips_mouth", "LPIPS of the mouth", 3),
    Figure("lpips_eyes", "LPIPS of the eyes", 3),
    Figure("flicker", "flicker", 3),
    Figure("psnr_db", "PSNR, dB", 1),
)
_COLUMNS = 3
_PANEL_INCHES = (4.2, 3.2)
_DPI = 110
_TICKS_KBPS = (5, 7, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 1000)
_ANCHOR_COLOURS = {
    "vp8": "#9a6324",
    "vp9": "#e6872b",
    "av1": "#c2342c",
    "x265": "#7a4fb5",
    "bicubic": "#888888",
}
_OUR_COLOURS = ("#1f5fd0", "#17a2b8", "#2e8b57", "#101a60")


def means(results: Results, size: int) -> bytes:
    """A .png: each figure over the rate, averaged over the clips.

    Raises RuntimeUnavailable without matplotlib.
    """
    figures = [f for f in PLOTTED if any(f.key in point for point in results.points)]
    drawing, axes = _grid(len(figures))
    for place, figure in zip(axes, figures, strict=False):
        for at, codec in enumerate(results.codecs()):
            found = (results.means(size, codec, kbps) for kbps in results.rates())
            _line(place, figure, [point for point in found if point is not None], codec, at)
        _finish(place, figure.title, figure.title)
    return _png(drawing, axes, f"{size} px, mean of {len(results.clips())} clips")


def by_clip(results: Results, size: int) -> bytes:
    """A .png: LPIPS over the rate, for each clip. Raises RuntimeUnavailable likewise."""
    clips, figure = results.clips(), PLOTTED[0]
    drawing, axes = _grid(len(clips))
    for place, clip in zip(axes, clips, strict=False):
        for at, codec in enumerate(results.codecs()):
            _line(place, figure, results.curve(clip, size, codec), codec, at)
        _finish(place, clip, figure.title)
    return _png(drawing, axes, f"{size} px")


def save(folder: Path, name: str, picture: bytes) -> None:
    """Write a plot; raises MediaError where it cannot be written."""
    path = folder / name
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error


def _grid(count: int) -> "tuple[Drawing, Sequence[Axes]]":
    try:
        from matplotlib.figure import Figure as Drawing
    except ImportError as error:
        raise RuntimeUnavailable(
            "plots need the package matplotlib: pip install 'gemino[evaluation]'"
        ) from error
    columns = min(max(count, 1), _COLUMNS)
    rows = -(-max(count, 1) // columns)
    width, height = _PANEL_INCHES
    drawing = Drawing((columns * width, rows * height + 0.7), layout="constrained")
    axes = list(drawing.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return drawing, axes[: max(count, 1)]


def _line(place: "Axes", figure: Figure, points: Iterable[Record], codec: str, at: int) -> None:
    known = [point for point in points if point.get(figure.key) is not None]
    rates = [point["payload_kbps"] for point in known]
    values = [point[figure.key] for point in known]
    ours = codec.startswith("gemino")
    colour = _OUR_COLOURS[at % len(_OUR_COLOURS)] if ours else _ANCHOR_COLOURS.get(codec, "#555555")
    place.plot(
        rates,
        values,
        marker="o",
        markersize=5 if ours else 4,
        linewidth=2.4 if ours else 1.4,
        color=colour,
        linestyle="-" if ours or codec in _ANCHOR_COLOURS else "--",
        label=title(codec),
    )


def _finish(place: "Axes", heading: str, label: str) -> None:
    place.set_title(heading, fontsize=10)
    place.set_xscale("log")
    low, high = place.get_xlim()
    place.set_xticks(_TICKS_KBPS, [str(tick) for tick in _TICKS_KBPS])
    place.set_xlim(low, high)  # all ticks would widen it
    place.minorticks_off()
    place.set_xlabel("payload, kbps", fontsize=8)
    place.set_ylabel(label, fontsize=8)
    place.tick_params(labelsize=8)
    place.grid(visible=True, alpha=0.3)


def _png(drawing: "Drawing", axes: "Sequence[Axes]", heading: str) -> bytes:
    drawing.suptitle(heading, fontsize=12)
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
    data = io.BytesIO()
    drawing.savefig(data, format="png", dpi=_DPI)
    return data.getvalue()
