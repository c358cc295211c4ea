"""Gemino over a clip without a call: the same Encoder and Decoder, and no network between them.

The reference is there with the first frame, where a call has to wait for it: figures from here
are those of a call that has settled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from gemino.config import (
    MAX_KBPS,
    MIN_KBPS,
    REFERENCE_AMORTISATION_S,
    EncoderConfig,
    Rung,
    ladder,
)
from gemino.decoder import Decoder
from gemino.encoder import Encoder
from gemino.evaluation.clips import Footage
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import Frame, from_video_frame, resize
from gemino.runtime import Synthesizer
from gemino.video.lr import LrDecoder, LrEncoder
from gemino.video.reference import encode_picture


@dataclass(frozen=True, slots=True, eq=False)
class GeminoResult:
    """What Gemino made of a clip.

    frames: rebuilt, and bicubic: the same LR pictures upsampled, both by the places of
    `Footage.originals`. rung: the LR stream. reference_bytes: of all references together.
    """

    frames: dict[int, Frame] = field(repr=False)
    bicubic: dict[int, Frame] = field(repr=False)
    rung: Rung
    rates: Rates
    lr_rates: Rates
    reference_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class LrStream:
    """A coded LR stream: its pictures, and the rung that asked for them."""

    rung: Rung
    pictures: list[bytes] = field(repr=False)
    rates: Rates

    def upsampled(self, size_px: int) -> Iterator[Frame]:
        """Every picture decoded and cubically upsampled to [size_px, size_px, 3]."""
        decoder = LrDecoder(self.rung.codec)
        for data in self.pictures:
            yield resize(decoder.decode(data), size_px)


def run(
    footage: Footage, kbps: float, synthesizer: Synthesizer, reference_bytes: int
) -> GeminoResult:
    """Code `footage` at a total payload of `kbps` as nearly as possible, and rebuild it.

    Only the frames that are measured go through the network; it keeps nothing from one frame to
    the next. Raises CodecError where a codec fails.
    """
    amortised_s = max(footage.seconds, REFERENCE_AMORTISATION_S)
    first = encode_picture(from_video_frame(footage.pictures[0]), reference_bytes)
    lr_kbps = max(kbps - len(first) * 8 / 1000 / amortised_s, 1.0)
    rung = fit(footage, ladder(lr_kbps), lr_kbps).rung
    encoder = Encoder(
        EncoderConfig(footage.size_px, rung, footage.fps, reference_max_bytes=reference_bytes)
    )
    decoder = Decoder(synthesizer, rung.codec)
    frames: dict[int, Frame] = {}
    bicubic: dict[int, Frame] = {}
    sizes: list[int] = []
    references: list[int] = []
    for place, picture in enumerate(footage.pictures):
        coded = encoder.encode(from_video_frame(picture), place / float(footage.fps))
        sizes.append(len(coded.lr))
        if coded.reference is not None:
            references.append(len(coded.reference))
            decoder.add_reference(coded.reference)
        small = decoder.decode_lr(coded.lr, coded.index)
        if small is not None and place in footage.originals:
            frames[place] = decoder.rebuild(small).frame
            bicubic[place] = resize(small.frame, footage.size_px)
    return GeminoResult(
        frames,
        bicubic,
        rung,
        count(sizes, footage.fps, references),
        count(sizes, footage.fps),
        sum(references),
    )


def fit(footage: Footage, rung: Rung, kbps: float) -> LrStream:
    """The LR stream of `rung`'s codec and size whose rate comes closest to `kbps`."""
    small = [resize(from_video_frame(p), rung.size_px) for p in footage.pictures]

    def code(asked_kbps: float) -> LrStream:
        return _lr_stream(small, Rung(rung.codec, rung.size_px, asked_kbps), footage.fps)

    return meet(kbps, code, MIN_KBPS, MAX_KBPS)


def _lr_stream(small: Sequence[Frame], rung: Rung, fps: Fraction) -> LrStream:
    encoder = LrEncoder(rung, fps)
    pictures = [encoder.encode(frame).data for frame in small]
    return LrStream(rung, pictures, count(map(len, pictures), fps))
