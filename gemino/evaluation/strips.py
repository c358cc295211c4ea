"""Strips: the same moments of a clip by every codec, side by side."""

from pathlib import Path

from gemino.evaluation.bench import Record, original_path, panel_path
from gemino.evaluation.pictures import Panel, read, row
from gemino.evaluation.report import title
from gemino.evaluation.results import Results
from gemino.frames import Frame


def strip(results: Results, panels: Path, clip: str, size: int, kbps: float) -> Frame | None:
    """A column for each codec at the rate nearest above, the original last.

    Below the whole picture is the face at three moments. None where no pictures were kept.
    Raises MediaError for a picture that is damaged.
    """
    points = [results.at(clip, size, codec, kbps) for codec in results.codecs()]
    shown = [
        Panel(_caption(point), read(path))
        for point in points
        if point is not None and (path := panel_path(panels, point)).is_file()
    ]
    original = original_path(panels, clip, size)
    if not shown or not original.is_file():
        return None
    return row([*shown, Panel(f"original ({clip})", read(original))])


def _caption(point: Record) -> str:
    floor = " (its floor)" if point.get("floor") else ""
    kbps, lpips = point["payload_kbps"], point["lpips"]
    return f"{title(point['codec'])}, {kbps:.1f} kbps{floor}, LPIPS {lpips:.3f}"
