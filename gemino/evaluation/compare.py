"""Codecs over clips without a call: the figures that this project publishes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from rich.table import Table

from gemino.evaluation import anchors, metrics, offline
from gemino.evaluation.clips import Footage
from gemino.evaluation.pictures import Panel, column, enlarged, face_box, row
from gemino.evaluation.rates import Rates
from gemino.evaluation.report import TITLES, machine
from gemino.frames import Frame
from gemino.nn.lpips import Lpips
from gemino.runtime import Synthesizer

CODECS = ("gemino", "bicubic", *anchors.ANCHOR_CODECS)
_STRIP_ROWS = 4

Pictures = Mapping[str, Mapping[int, Frame]]
"""Decoded frames by codec, then by the places of `Footage.originals`."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What one codec made of one clip.

    lpips, ssim, psnr_db: means over the measured frames.
    details: what else is worth keeping, as values for json.dumps.
    """

    rates: Rates
    lpips: float
    ssim: float
    psnr_db: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "lpips": round(self.lpips, 4),
            "ssim": round(self.ssim, 4),
            "psnr_db": round(self.psnr_db, 2),
            "payload_kbps": round(self.rates.payload_kbps, 2),
            "onwire_kbps": round(self.rates.onwire_kbps, 2),
            **self.details,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One clip by several codecs; without pictures, so that those of many clips fit in memory."""

    clip: str
    size_px: int
    fps: float
    frames: int
    frames_measured: int
    every: int
    results: Mapping[str, Result]

    def to_json(self) -> dict[str, Any]:
        return {
            "clip": self.clip,
            "size": self.size_px,
            "fps": round(self.fps, 3),
            "frames": self.frames,
            "frames_measured": self.frames_measured,
            "every": self.every,
            "codecs": {codec: result.to_json() for codec, result in self.results.items()},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Codes clips and measures them.

    codecs: of `CODECS`. kbps: total payload wanted of each. reference_bytes: of Gemino's reference.
    """

    network: Lpips
    synthesizer: Synthesizer
    codecs: Sequence[str]
    kbps: float
    reference_bytes: int

    def compare(self, footage: Footage, tell: Callable[[str], None]) -> tuple[Comparison, Pictures]:
        """Every codec over `footage`; tell hears which one it is. Raises CodecError."""
        results: dict[str, Result] = {}
        pictures: dict[str, Mapping[int, Frame]] = {}
        if {"gemino", "bicubic"} & set(self.codecs):
            tell(TITLES["gemino"])
            made = offline.run(footage, self.kbps, self.synthesizer, self.reference_bytes)
            pictures |= {"gemino": made.frames, "bicubic": made.bicubic}
            lr = {"lr_px": made.rung.size_px, "lr_kbps": round(made.lr_rates.payload_kbps, 2)}
            own = lr | {"model": self.synthesizer.name, "reference_bytes": made.reference_bytes}
            results["gemino"] = self._measured(footage, made.rates, made.frames, own)
            results["bicubic"] = self._measured(footage, made.lr_rates, made.bicubic, lr)
        for codec in anchors.ANCHOR_CODECS:
            if codec in self.codecs:
                tell(TITLES[codec])
                anchor = anchors.run(codec, footage, self.kbps)
                pictures[codec] = anchor.frames
                results[codec] = self._measured(
                    footage, anchor.rates, anchor.frames, {"floor": anchor.floor}
                )
        comparison = Comparison(
            clip=footage.name,
            size_px=footage.size_px,
            fps=float(footage.fps),
            frames=len(footage.pictures),
            frames_measured=len(footage.originals),
            every=footage.every,
            results={codec: results[codec] for codec in self.codecs},
        )
        return comparison, pictures

    def _measured(
        self,
        footage: Footage,
        rates: Rates,
        frames: Mapping[int, Frame],
        details: Mapping[str, Any],
    ) -> Result:
        pairs = [(footage.originals[at], frame) for at, frame in frames.items()]
        return Result(
            rates=rates,
            lpips=fmean(metrics.lpips(self.network, a, b) for a, b in pairs),
            ssim=fmean(metrics.ssim(a, b) for a, b in pairs),
            psnr_db=fmean(metrics.psnr(a, b) for a, b in pairs),
            details=details,
        )


def means(comparisons: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """Each codec's figures averaged over the clips, every clip counting alike."""
    return {
        codec: {
            "lpips": fmean(c.results[codec].lpips for c in comparisons),
            "ssim": fmean(c.results[codec].ssim for c in comparisons),
            "psnr_db": fmean(c.results[codec].psnr_db for c in comparisons),
            "payload_kbps": fmean(c.results[codec].rates.payload_kbps for c in comparisons),
            "onwire_kbps": fmean(c.results[codec].rates.onwire_kbps for c in comparisons),
        }
        for codec in comparisons[0].results
    }


def to_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Everything, as values for json.dumps."""
    averaged = {
        codec: {name: round(value, 4) for name, value in figures.items()}
        for codec, figures in means(comparisons).items()
    }
    return {
        "clips": [comparison.to_json() for comparison in comparisons],
        "mean": averaged,
        "machine": machine(),
    }


def table(comparisons: Sequence[Comparison]) -> Table:
    """A row a clip, a column a codec: LPIPS and the payload it took."""
    result = Table(title=f"LPIPS of every {comparisons[0].every}th frame, at payload in kbps")
    result.add_column("clip")
    for codec in comparisons[0].results:
        result.add_column(TITLES[codec], justify="right")
    for comparison in comparisons:
        made = comparison.results.values()
        cells = [f"{r.lpips:.3f} at {r.rates.payload_kbps:.1f}" for r in made]
        result.add_row(comparison.clip, *cells)
    averaged = [f"{m['lpips']:.3f} at {m['payload_kbps']:.1f}" for m in means(comparisons).values()]
    result.add_section()
    result.add_row("mean", *averaged)
    return result


def strip(footage: Footage, comparison: Comparison, pictures: Pictures) -> Frame:
    """A few moments by each codec beside the original, and the faces in them enlarged."""
    places = sorted(footage.originals)
    chosen = sorted({places[len(places) * i // _STRIP_ROWS] for i in range(_STRIP_ROWS)})
    rows = []
    for at in chosen:
        panels = [
            Panel(_caption(codec, result), pictures[codec][at])
            for codec, result in comparison.results.items()
        ]
        panels.append(Panel(f"original, frame {at}", footage.originals[at]))
        rows.append(row([*panels, *enlarged(panels, face_box(footage.originals[at]))]))
    return column(rows)


def _caption(codec: str, result: Result) -> str:
    return f"{TITLES[codec]}, {result.rates.payload_kbps:.1f} kbps, LPIPS {result.lpips:.3f}"
