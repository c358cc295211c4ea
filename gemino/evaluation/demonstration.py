"""A recorded call against its source and against the anchors: figures, a movie and a picture.

Nothing here holds the call: it is given what the call left behind, a lossless recording of every
shown frame with the number of the source frame in it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np

from gemino.config import LrCodec, Rung
from gemino.errors import MediaError
from gemino.evaluation import anchors, offline
from gemino.evaluation.clips import Footage
from gemino.evaluation.metrics import lpips
from gemino.evaluation.pictures import Panel, column, encode, enlarged, face_box, row
from gemino.evaluation.recording import Shown, follow, read
from gemino.evaluation.report import TITLES, ClipReport, Score
from gemino.frames import Frame, from_video_frame
from gemino.media import MovieWriter
from gemino.nn.lpips import Lpips

MAX_MEASURED_FRAMES = 24
_GREY = 128  # what a decoder shows before its first picture
_ANCHORS: tuple[anchors.AnchorCodec, ...] = ("vp8", "av1")


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """What a call left behind: its figures by name, the recording and the recording's log."""

    figures: Mapping[str, Any]
    movie: Path
    log: Path


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The measured frames, by their places in the clip.

    shown: of the call, only where this very frame was shown. bicubic: of the same LR rung.
    """

    shown: dict[int, Shown] = field(default_factory=dict)
    bicubic: dict[int, Frame] = field(default_factory=dict)

    def neural_places(self) -> list[int]:
        """Where the network made the frame; everywhere if it made none (a call without one)."""
        return [at for at, shown in self.shown.items() if shown.neural] or list(self.shown)


def step_for(frames: int) -> int:
    """Measure every so-many-th frame: at most 24 of the clip's `frames`."""
    return max(1, -(-frames // MAX_MEASURED_FRAMES))


def demonstrate(
    footage: Footage,
    call: RecordedCall,
    movie: MovieWriter,
    start_s: float,
    network: Lpips,
    tell: Callable[[str], None],
) -> tuple[ClipReport, Frame]:
    """Measure a call, append it to the side-by-side `movie`, and draw the comparison.

    movie: of `side_by_side_size(footage.size_px)`; start_s: where in it this clip begins.
    tell: hears what is being done. Raises MediaError where nothing of the call can be measured.
    """
    tell("putting the pictures side by side")
    seen = _watch(footage, call, movie, start_s)
    if not seen.shown:
        raise MediaError(f"{call.movie}: shows none of the measured frames of {footage.name}")
    kbps = float(call.figures["payload_kbps"])
    frames: dict[str, dict[int, Frame]] = {
        "gemino": {at: shown.frame for at, shown in seen.shown.items()},
        "bicubic": seen.bicubic,
    }
    paid = {"gemino": (kbps, False), "bicubic": (float(call.figures["lr_kbps"]), False)}
    for codec in _ANCHORS:
        tell(f"coding with {TITLES[codec]} at {kbps:.1f} kbps")
        result = anchors.Anchor(codec, attempts=3).run(footage, kbps)
        frames[codec] = result.shown()
        paid[codec] = (result.rates.payload_kbps, result.floor)
    tell("measuring LPIPS")
    # All codecs over the same frames; Gemino's first ones, not yet rebuilt, are told apart.
    settled = seen.neural_places()
    whole_call = {
        at: lpips(network, footage.originals[at], shown.frame) for at, shown in seen.shown.items()
    }
    scores = {"gemino": Score(fmean(whole_call[at] for at in settled), *paid["gemino"])}
    for name in ("bicubic", *_ANCHORS):
        distances = [lpips(network, footage.originals[at], frames[name][at]) for at in settled]
        scores[name] = Score(fmean(distances), *paid[name])
    picture = _comparison(footage, frames, scores, settled[len(settled) * 2 // 3])
    report = ClipReport(
        clip=footage.name,
        size=footage.size_px,
        model=str(call.figures["model"]),
        call=call.figures,
        scores=scores,
        whole_call_lpips=fmean(whole_call.values()),
        frames_measured=len(settled),
        every=footage.every,
        picture=encode(picture, ".jpg"),
    )
    return report, picture


def side_by_side_size(size_px: int) -> tuple[int, int]:
    """Width and height of the side-by-side movie."""
    height, width = row([Panel("", _blank(size_px))] * 3).shape[:2]
    return width, height


def _watch(footage: Footage, call: RecordedCall, movie: MovieWriter, start_s: float) -> _Seen:
    seen = _Seen()
    for at, (shown, upsampled) in enumerate(_moments(footage, call)):
        if at in footage.originals:
            seen.bicubic[at] = upsampled
            if shown is not None and shown.source_index == at:
                seen.shown[at] = shown
        panels = [
            Panel(f"LR {call.figures['lr_px']} px, upsampled", upsampled),
            Panel(
                f"Gemino, {call.figures['payload_kbps']:.1f} kbps",
                _blank(footage.size_px) if shown is None else shown.frame,
            ),
            Panel("original", from_video_frame(footage.pictures[at])),
        ]
        movie.write(row(panels), start_s + at / float(footage.fps))
    return seen


def _moments(footage: Footage, call: RecordedCall) -> Iterator[tuple[Shown | None, Frame]]:
    """At every frame of the clip, what the call showed and its LR picture upsampled.

    The LR pictures are not those that crossed the network: they are coded again with the codec, the
    size and the rate of the call, and look evenly.
    """
    kbps = float(call.figures["lr_kbps"])
    codec = cast(LrCodec, call.figures["lr_codec"])
    rung = Rung(codec, int(call.figures["lr_px"]))
    stream = offline.fit(footage, rung, kbps, once=True)
    shown = follow(read(call.movie, call.log), len(footage.pictures))
    yield from zip(shown, stream.upsampled(footage.size_px), strict=True)


def _comparison(
    footage: Footage,
    frames: Mapping[str, Mapping[int, Frame]],
    scores: Mapping[str, Score],
    at: int,
) -> Frame:
    """One moment by every codec and, below, the face in it."""
    panels = [
        Panel(_caption(codec, scores[codec]), frames[codec][at])
        for codec in (*_ANCHORS, "bicubic", "gemino")
    ]
    panels.append(Panel(f"original ({footage.name})", footage.originals[at]))
    return column([row(panels), row(enlarged(panels, face_box(footage.originals[at])))])


def _caption(codec: str, score: Score) -> str:
    floor = " (its floor)" if score.floor else ""
    return f"{TITLES[codec]}, {score.kbps:.1f} kbps{floor}, LPIPS {score.lpips:.3f}"


def _blank(size_px: int) -> Frame:
    return np.full((size_px, size_px, 3), _GREY, np.uint8)
