"""What a demonstration measured: report.json, report.html and a short table."""

import base64
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from rich.table import Table

from gemino.errors import MediaError

COLUMNS = ("gemino", "bicubic", "vp8", "av1")
TITLES = {
    "gemino": "Gemino",
    "bicubic": "bicubic",
    "vp8": "VP8",
    "vp9": "VP9",
    "av1": "AV1",
    "x265": "H.265",
}
_TEMPLATE = "report.html.j2"
_CALL_FIGURES = (
    "payload_kbps",
    "reference_bytes",
    "onwire_kbps",
    "frames_sent",
    "frames_shown",
    "frames_interpolated",
    "fps_shown",
    "latency_ms",
)
_MORE_CALL_FIGURES = (
    "seconds",
    "frames_in_clip",
    "frames_neural",
    "first_neural_s",
    "lr_px",
    "lr_kbps",
    "audio_kbps",
    "synthesize_ms",
    "peak_rss_mb",
)


class Score(NamedTuple):
    """A codec's mean LPIPS and the payload it took. floor: it could not take less."""

    lpips: float
    kbps: float
    floor: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ClipReport:
    """One clip of a demonstration.

    call: the call's own figures, by the names that `to_json` lists. scores: by codec.
    whole_call_lpips: Gemino's, with the frames shown before the reference arrived; None where
    nothing was shown. frames_measured: how many frames each mean is over, at every `every`-th.
    picture: a .jpg to embed.
    """

    clip: str
    size: int
    model: str
    call: Mapping[str, Any]
    scores: Mapping[str, Score]
    whole_call_lpips: float | None
    frames_measured: int
    every: int
    picture: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """As values for json.dumps; `lpips` holds each codec's figure and its rate beside it."""
        lpips: dict[str, float | bool | None] = {}
        for codec, score in self.scores.items():
            lpips[codec] = round(score.lpips, 4)
            lpips[f"{codec}_kbps"] = round(score.kbps, 2)
            lpips[f"{codec}_at_floor"] = score.floor
        whole = self.whole_call_lpips
        lpips["gemino_whole_call"] = None if whole is None else round(whole, 4)
        return {
            "clip": self.clip,
            "size": self.size,
            "model": self.model,
            **{name: self.call[name] for name in _CALL_FIGURES},
            "lpips": lpips,
            "lpips_frames": self.frames_measured,
            "lpips_every": self.every,
            **{name: self.call[name] for name in _MORE_CALL_FIGURES},
        }


def title(codec: str) -> str:
    """A codec's name for people: `gemino-av1-192` is "Gemino (AV1 192)"."""
    front, _, model = codec.partition(":")
    kind, *stream = front.split("-")
    named = " ".join(TITLES.get(part, part) for part in stream)
    inside = ", ".join(part for part in (named, model) if part)
    return TITLES.get(kind, kind) + (f" ({inside})" if inside else "")


def machine() -> dict[str, Any]:
    """The computer in words: what times depend on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def write_json(path: Path, clips: Sequence[ClipReport]) -> None:
    """Write report.json; raises MediaError where it cannot be written."""
    computer = machine()
    listed = [clip.to_json() | {"machine": computer} for clip in clips]
    _write(path, json.dumps({"clips": listed}, indent=1) + "\n")


def write_html(path: Path, clips: Sequence[ClipReport]) -> None:
    """Write report.html, one file with everything in it; raises MediaError likewise."""
    source = (files(__package__) / _TEMPLATE).read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = [
        {
            "report": clip,
            "json": clip.to_json(),
            "worst": max(score.lpips for score in clip.scores.values()),
            "picture": base64.b64encode(clip.picture).decode(),
        }
        for clip in clips
    ]
    page = environment.from_string(source).render(clips=shown, titles=TITLES, machine=machine())
    _write(path, page)


def table(clips: Sequence[ClipReport]) -> Table:
    """The figures that matter, for a terminal."""
    result = Table(
        title="LPIPS (lower is better), below it the total payload in kbps",
        caption="* its floor: it cannot take less",
    )
    result.add_column("clip")
    for codec in COLUMNS:
        result.add_column(TITLES[codec], justify="right")
    for heading in ("shown", "p50/p95 ms", "wire kbps"):
        result.add_column(heading, justify="right")
    for clip in clips:
        cells = [_cell(clip.scores[codec]) if codec in clip.scores else "-" for codec in COLUMNS]
        call = clip.call
        latency = call["latency_ms"]
        result.add_row(
            clip.clip,
            *cells,
            _frames(call),
            f"{milliseconds(latency['p50'])}/{milliseconds(latency['p95'])}",
            f"{call['onwire_kbps']:.1f}",
        )
    return result


def _frames(call: Mapping[str, Any]) -> str:
    made = call["frames_interpolated"]
    shown = f"{call['frames_shown']}/{call['frames_in_clip']}"
    return f"{shown} + {made} between" if made else shown


def milliseconds(value: float | None) -> str:
    """`value` in whole milliseconds, or a dash."""
    return "-" if value is None else f"{value:.0f}"


def _cell(score: Score) -> str:
    return f"{score.lpips:.3f}\n{score.kbps:.1f}{'*' if score.floor else ''}"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux: the next best name
    return platform.processor() or "unknown"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
