"""What one codec made of one clip, as figures.

Every figure is of the last pass over the clip; `startup_*` alone are of the beginning. What each
one means stands in docs/evaluation.md.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import fmean
from typing import NamedTuple

from gemino.config import REFERENCE_BURST
from gemino.evaluation import metrics
from gemino.evaluation.codecs import Coded, first_pass, pairs, start_positions
from gemino.evaluation.landmarks import FaceLandmarker, mouth_opening
from gemino.evaluation.pictures import Box
from gemino.evaluation.regions import Faces
from gemino.frames import Frame, from_video_frame
from gemino.nn.lpips import Lpips

SHARP = (1.25, 0.03)
"""A sharp frame's LPIPS is at most so many times, or so much above, the steady mean."""
_WORST_SHARE = 0.05
_MAX_PSNR_DB = 100.0
"""Stands for equal pictures, where PSNR is infinite and a mean would be lost."""

Figures = dict[str, float | None]
_Pair = tuple[Frame, Frame]


class Startup(NamedTuple):
    """When the first sharp frame is there, and the payload that had left by then."""

    seconds: float
    payload_bytes: int


@dataclass(frozen=True)
class Judge:
    """Measures. network: LPIPS of AlexNet. vgg: of VGG16, where wanted."""

    network: Lpips
    vgg: Lpips | None = None
    landmarker: FaceLandmarker | None = None

    def figures(self, coded: Coded, faces: Faces) -> Figures:
        """All figures of `coded`; those that cannot be measured are left out."""
        footage, shown = coded.footage, coded.shown()
        together = {place: (footage.originals[place], shown[place]) for place in shown}
        lpips = {at: metrics.lpips(self.network, *pair) for at, pair in together.items()}
        some = list(together.values())[::2]
        figures: Figures = {
            "payload_kbps": coded.rates.payload_kbps,
            "onwire_kbps": coded.rates.onwire_kbps,
            "lpips": fmean(lpips.values()),
            "lpips_worst5": worst_mean(lpips.values()),
            "psnr_db": fmean(_psnr(*pair) for pair in together.values()),
            "ssim": fmean(metrics.ssim(*pair) for pair in together.values()),
            "flicker": self._flicker(coded),
            "lpips_unscaled": fmean(
                metrics.lpips(self.network, *pair, unscaled=True) for pair in some
            ),
            "ssim_256": fmean(metrics.original_ssim(*pair) for pair in together.values()),
        }
        if self.vgg is not None:
            figures["lpips_vgg"] = fmean(metrics.lpips(self.vgg, *pair) for pair in some)
        figures |= self._first_pass(coded) | self._regions(together, faces)
        figures |= self._startup(coded, fmean(lpips.values()))
        return figures

    def _first_pass(self, coded: Coded) -> Figures:
        """LPIPS of a first pass that references were taken in, from the first one's arrival on.

        In the last pass each frame has been seen before, and may even be a reference.
        """
        if len(coded.references) < 2:
            return {}
        start = coded.references[0].position
        found = [
            metrics.lpips(self.network, coded.footage.originals[place], coded.frames[at])
            for place, at in first_pass(coded.footage).items()
            if at >= start
        ]
        return {"lpips_first_pass": fmean(found)} if found else {}

    def _flicker(self, coded: Coded) -> float | None:
        footage = coded.footage
        found = []
        for at, place_before in pairs(footage).items():
            source = (place_before, footage.order[at])
            before, after = (from_video_frame(footage.pictures[place]) for place in source)
            decoded = coded.frames[at - 1], coded.frames[at]
            found.append(metrics.flicker(self.network, (before, after), decoded))
        return fmean(found) if found else None

    def _regions(self, together: Mapping[int, _Pair], faces: Faces) -> Figures:
        """Mouth and eyes, over the frames that show them."""
        if not faces.regions:
            return {}
        mouths = [_cut(together[at], regions.mouth) for at, regions in faces.regions.items()]
        eyes = [_cut(together[at], eye) for at, r in faces.regions.items() for eye in r.eyes]
        figures: Figures = {}
        for name, crops in (("mouth", mouths), ("eyes", eyes)):
            distance = partial(metrics.crop_lpips, self.network)
            figures[f"lpips_{name}"] = fmean(distance(*crop) for crop in crops)
            figures[f"psnr_{name}_db"] = fmean(_psnr(*crop) for crop in crops)
        if faces.landmarks and self.landmarker is not None:
            figures["mouth_error"] = fmean(
                abs(
                    mouth_opening(face.points)
                    - mouth_opening(self.landmarker.follow(together[at][1], face))
                )
                for at, face in faces.landmarks.items()
            )
        return figures

    def _startup(self, coded: Coded, steady_lpips: float) -> Figures:
        footage = coded.footage

        def lpips_at(position: int) -> float:
            original = from_video_frame(footage.pictures[footage.order[position]])
            return metrics.lpips(self.network, original, coded.frames[position])

        found = startup(coded, steady_lpips, lpips_at)
        if found is None:
            return {"startup_s": None, "startup_bytes": None, "startup_thin_s": None}
        thin_s = found.payload_bytes * 8 / 1000 / coded.asked_kbps
        return {
            "startup_s": found.seconds,
            "startup_bytes": found.payload_bytes,
            "startup_thin_s": max(found.seconds, thin_s),
        }


@dataclass(frozen=True)
class _Link:
    """An ideal link of `REFERENCE_BURST` times the rate asked for: pictures queue for it."""

    coded: Coded

    def shown_s(self, position: int) -> float:
        """When a frame is shown that is ready as soon as it can be: with a later one's arrival."""
        return self.arrivals_s[min(position + self.coded.delay, len(self.arrivals_s) - 1)]

    @cached_property
    def arrivals_s(self) -> list[float]:
        """When each picture is there, in seconds since the first was taken."""
        fps = float(self.coded.footage.fps)
        bytes_per_s = REFERENCE_BURST * self.coded.asked_kbps * 125
        free_s, arrivals = 0.0, []
        for position, size in enumerate(self.coded.sizes):
            free_s = max(free_s, position / fps) + size / bytes_per_s
            arrivals.append(free_s)
        return arrivals

    def bytes_until(self, position: int) -> int:
        """Payload sent with the picture at `position`, references that are there included."""
        references = (r.size for r in self.coded.references if r.position <= position)
        return sum(self.coded.sizes[: position + 1]) + sum(references)


def startup(coded: Coded, steady_lpips: float, lpips_at: Callable[[int], float]) -> Startup | None:
    """The first sharp frame of those at `start_positions`; None where there is none."""
    link = _Link(coded)
    factor, more = SHARP
    sharp = max(factor * steady_lpips, steady_lpips + more)
    for position in start_positions(coded.footage):
        if position in coded.frames and lpips_at(position) <= sharp:
            return Startup(link.shown_s(position), link.bytes_until(position))
    return None


def worst_mean(values: Iterable[float]) -> float:
    """The mean of the highest twentieth, of at least one."""
    ordered = sorted(values, reverse=True)
    return fmean(ordered[: math.ceil(_WORST_SHARE * len(ordered))])


def _psnr(a: Frame, b: Frame) -> float:
    return min(metrics.psnr(a, b), _MAX_PSNR_DB)


def _cut(pair: _Pair, box: Box) -> _Pair:
    return box.cut(pair[0]), box.cut(pair[1])
