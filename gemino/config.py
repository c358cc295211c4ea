"""Configuration values; every unit is in its name.

Plain frozen dataclasses: no files, no environment. `ladder` is the one place that turns a total
bitrate into a low-resolution stream.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

LrCodec = Literal["vp8", "vp9", "av1"]
NetworkSize = Literal["xs", "s", "l"]

OUTPUT_SIZES_PX = (256, 512, 768, 1024)
MIN_LR_PX = 64
MAX_LR_PX = 1024
MAX_SCREEN_PX = 1920
"""The longer side of a shared screen's picture."""
MIN_KBPS = 5.0
MAX_KBPS = 1000.0
REFERENCE_AMORTISATION_S = 60.0
"""A reference's bytes are spread over this time, or over the clip where that is longer."""


REFERENCE_BURST = 8.0
"""A reference may leave so many times as fast as the whole stream."""


FOVEA_GRID = 32
"""A fovea's place and radius count in so many parts of the picture's side."""
FOVEA_RADII = (2, 12)
FOVEATED_PX = (128, 192)
"""LR sizes with a fovea: larger ones show a face well enough, smaller ones too little besides."""


@dataclass(frozen=True, slots=True)
class Fovea:
    """Where an LR picture looks closer (`gemino.sampling`): around a face.

    x, y: its centre from the left and from the top, 0..32. radius: half its side, 2..12; all in
    1/32 of the picture's side.
    """

    x: int
    y: int
    radius: int

    def __post_init__(self) -> None:
        if not (0 <= self.x <= FOVEA_GRID and 0 <= self.y <= FOVEA_GRID):
            raise ValueError(f"a fovea's centre must be in 0..{FOVEA_GRID}, not {self.x}, {self.y}")
        if not FOVEA_RADII[0] <= self.radius <= FOVEA_RADII[1]:
            raise ValueError(f"a fovea's radius must be in 2..12, not {self.radius}")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an LR picture samples the full one: evenly, or more closely in a fovea.

    size_px: side of the coded LR picture.
    """

    size_px: int
    fovea: Fovea | None = None


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: what the low-resolution (LR) stream looks like.

    codec: its video codec. size_px: side of the square LR frame, a multiple of 16, 64..1024.
    video_kbps: target bitrate of the LR stream's payload, 5..1000. fovea: where it looks closer;
    AV1 alone can say so in the stream.
    """

    codec: LrCodec = "vp8"
    size_px: int = 128
    video_kbps: float = 12.0
    fovea: Fovea | None = None

    def __post_init__(self) -> None:
        if self.codec not in get_args(LrCodec):
            raise ValueError(f"codec must be vp8, vp9 or av1, not {self.codec!r}")
        if not MIN_LR_PX <= self.size_px <= MAX_LR_PX or self.size_px % 16:
            raise ValueError(f"size_px must be a multiple of 16 in 64..1024, not {self.size_px}")
        if not MIN_KBPS <= self.video_kbps <= MAX_KBPS:
            raise ValueError(f"video_kbps must be in 5..1000, not {self.video_kbps}")
        if self.fovea is not None and self.codec != "av1":
            raise ValueError(f"only an AV1 stream has a fovea, not {self.codec}")

    @property
    def sampling(self) -> Sampling:
        """How its pictures sample the full ones."""
        return Sampling(self.size_px, self.fovea)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What `gemino.encoder.Encoder` needs to know.

    output_px: side of the square picture that the receiver rebuilds, 256..1024.
    rung: the LR stream to start with. fps: nominal frame rate.
    reference_max_bytes: a reference picture is coded at the best quality that fits into this.
    reference_kbps: what references may cost in any minute, however early in it; 0 for one
    reference a scene. reference_min_interval_s: between any two. foveate: look closer at the face
    where the LR stream is AV1; for receivers that know it. first_reference_bytes: of a coarse one
    that goes before the first, so that something sharp is seen soon; None for none.
    """

    output_px: int = 512
    rung: Rung = Rung()
    fps: Fraction = Fraction(30)
    reference_max_bytes: int = 12_000
    reference_kbps: float = 0.0
    reference_min_interval_s: float = 2.0
    foveate: bool = False
    first_reference_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What defines a network apart from its weights; saved as config.toml beside them.

    name: folder below models/. size: the one dial. Widths and depths follow from it in
    `gemino.nn.model`. format: raised when old weights no longer fit the code.
    """

    name: str
    size: NetworkSize = "s"
    format: int = 1


REFERENCES_HELD = 8
"""A receiver keeps the newest so many, and a sender counts on it."""
_REFERENCE_SHARE = 0.45
_USUAL_REFERENCE_BYTES_PER_PX = (24.0, 40.0)
_REFERENCE_BYTES_PER_PX = (29.0, 48.0)
_REFERENCE_BYTES_PER_PX_AND_KBPS = 1.9
_MIN_REFERENCE_BYTES = 4_000
_FIRST_REFERENCE_BYTES_PER_PX = 10
_MOST_FIRST_REFERENCE_BYTES = 8_000


def reference_kbps(total_kbps: float, output_px: int) -> float:
    """What references may cost in a minute: 45 % of `total_kbps`, until that pays for as many of
    the usual size as a receiver holds.

    A head that moves much gains by a large share, and heads that hardly move lose little.
    """
    least, most = _USUAL_REFERENCE_BYTES_PER_PX
    held_bytes = REFERENCES_HELD * min(max(total_kbps, least), most) * output_px
    return min(_REFERENCE_SHARE * total_kbps, held_bytes * 8 / 1000 / REFERENCE_AMORTISATION_S)


def reference_budget_bytes(total_kbps: float, output_px: int) -> int:
    """Most bytes of one reference in a stream of `total_kbps`: 15 kB at 512 px, 25 from 25 kbps on.

    A plain picture needs less, and `video.reference` stops there.
    """
    minute_bytes = reference_kbps(total_kbps, output_px) * 125 * REFERENCE_AMORTISATION_S
    most = min(minute_bytes / 2, _most_bytes(total_kbps, output_px))
    return int(max(most, _MIN_REFERENCE_BYTES))


def first_reference_bytes(output_px: int) -> int:
    """Most bytes of the coarse reference that goes before the first: 5 kB at 512 px.

    It crosses in half the time or less, and takes most of the LPIPS off that pictures without any
    have (docs/references.md).
    """
    return min(_FIRST_REFERENCE_BYTES_PER_PX * output_px, _MOST_FIRST_REFERENCE_BYTES)


def _most_bytes(total_kbps: float, output_px: int) -> float:
    """A reference as good as a stream of that rate has use for.

    Noisy footage and rich scenes take it all. More than the least takes over a second at 15 kbps.
    """
    least, most = _REFERENCE_BYTES_PER_PX
    return min(max(_REFERENCE_BYTES_PER_PX_AND_KBPS * total_kbps, least), most) * output_px


_SMOOTH_KBPS, _THIN_KBPS = 60.0, 30.0
_SMOOTH_FPS, _PLAIN_FPS, _LEAST_FPS = 62.0, 32.0, 11.5  # of cameras, which are not exact
_INTERPOLATED_GAP_S = (0.052, 0.125)


def frame_step(fps: Fraction, total_kbps: float, *, halve: bool = True) -> int:
    """Every how many frames of a camera or clip one is sent: at most 30 a second below 60 kbps, and
    half of that below 30 kbps, where the receiver makes those between (`interpolates`); not half,
    unless `halve`.

    A thin stream of 60 frames a second starves: at 15 kbps faces lose their eyes.
    """
    most = _PLAIN_FPS if total_kbps < _SMOOTH_KBPS else _SMOOTH_FPS
    step = math.ceil(fps / Fraction(most))
    halved = halve and total_kbps < _THIN_KBPS and fps / (2 * step) >= _LEAST_FPS
    return 2 * step if halved else step


def interpolates(gap_s: float) -> bool:
    """Whether a receiver makes a picture between two that were taken so far apart.

    So it does with 8 to 19 a second, whoever chose that: `frame_step`, or a camera in poor light.
    """
    shortest, longest = _INTERPOLATED_GAP_S
    return shortest < gap_s < longest


LadderSteps = tuple[tuple[float, int], ...]
"""Least kbps of the LR stream and the side of its pictures in px, from the highest rate to 0."""

# For want of a model's own, measured ladder (`zoo.ModelFiles.ladders`), at about 30 fps. VP8's
# floor is 9-14 kbps at 128 px, 28 at 256 px and 97 at 512 px, and a starved stream is worse than
# a smaller one.
_VPX_LADDER = ((300.0, 512), (40.0, 256), (8.0, 128), (0.0, 64))
_LADDERS: Mapping[LrCodec, LadderSteps] = {
    "vp8": _VPX_LADDER,
    "vp9": _VPX_LADDER,
    "av1": ((300.0, 512), (36.0, 256), (24.0, 192), (6.0, 128), (0.0, 64)),
}


def ladder(video_kbps: float, codec: LrCodec = "av1", steps: LadderSteps | None = None) -> Rung:
    """The rung for `video_kbps` of LR payload (clamped to 5..1000); steps: a model's own."""
    kbps = min(max(video_kbps, MIN_KBPS), MAX_KBPS)
    size_px = next(px for floor, px in steps or _LADDERS[codec] if kbps >= floor)
    return Rung(codec, size_px, kbps)
