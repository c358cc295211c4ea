"""Gemino over a clip without a call: the same Encoder and Decoder, and an ideal link between them.

The link loses nothing. It carries LR pictures as they come and a reference at `REFERENCE_BURST`
times the total rate, as the sender of a call does; until the reference is there, the receiver
upsamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from gemino.config import (
    MAX_KBPS,
    MIN_KBPS,
    REFERENCE_AMORTISATION_S,
    EncoderConfig,
    LrCodec,
    Rung,
    ladder,
    reference_budget_bytes,
)
from gemino.decoder import Decoder
from gemino.encoder import Encoder
from gemino.evaluation.clips import Footage
from gemino.evaluation.codecs import Coded, Reference, kept
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import Frame, from_video_frame, resize
from gemino.runtime import ClassicalSynthesizer, Synthesizer
from gemino.video.lr import LrDecoder, LrEncoder
from gemino.video.reference import encode_picture

REFERENCE_BURST = 8.0
"""A call lets a reference leave at so many times the rate of the whole stream."""
_ATTEMPTS = 3  # a small stream codes fast, and its rate decides which clips compare


@dataclass(frozen=True, slots=True)
class Stream:
    """Which LR stream to use; None: what the ladder says for the rate."""

    codec: LrCodec | None = None
    size_px: int | None = None

    def rung(self, kbps: float) -> Rung:
        kbps = min(max(kbps, MIN_KBPS), MAX_KBPS)
        rung = ladder(kbps) if self.codec is None else ladder(kbps, self.codec)
        return rung if self.size_px is None else Rung(rung.codec, self.size_px, rung.video_kbps)


@dataclass(frozen=True, slots=True, eq=False)
class Gemino:
    """The project's codec.

    synthesizer: rebuilds; its reference is replaced. stream: its LR stream. reference_bytes: most
    of a reference; None: as a call of that rate has it.
    """

    name: str
    synthesizer: Synthesizer
    stream: Stream = field(default_factory=Stream)
    reference_bytes: int | None = None

    def run(self, footage: Footage, kbps: float) -> Coded:
        """Code the play at a total payload of `kbps`, and rebuild the frames that are looked at.

        Raises CodecError where a codec fails.
        """
        most = self.reference_bytes or reference_budget_bytes(kbps, footage.size_px)
        first = encode_picture(from_video_frame(footage.pictures[0]), most)
        lr_kbps = max(kbps - len(first) * 8 / 1000 / REFERENCE_AMORTISATION_S, 1.0)
        rung = fit(footage, self.stream.rung(lr_kbps), lr_kbps).rung
        return _play(footage, kbps, rung, most, self.synthesizer)


@dataclass(frozen=True, slots=True)
class Bicubic:
    """An LR stream with the whole rate to itself, cubically upsampled."""

    name: str
    stream: Stream = field(default_factory=Stream)

    def run(self, footage: Footage, kbps: float) -> Coded:
        """Code the play with an LR stream of `kbps`. Raises CodecError where the codec fails."""
        rung = fit(footage, self.stream.rung(kbps), kbps).rung
        return _play(footage, kbps, rung, 0, ClassicalSynthesizer(footage.size_px))


def _play(
    footage: Footage, kbps: float, rung: Rung, reference_bytes: int, synthesizer: Synthesizer
) -> Coded:
    """The whole play through an Encoder and a Decoder; no reference_bytes: no references."""
    fps = float(footage.fps)
    config = EncoderConfig(
        footage.size_px, rung, footage.fps, reference_max_bytes=max(reference_bytes, 1)
    )
    encoder, decoder = Encoder(config), Decoder(synthesizer, rung.codec)
    synthesizer.forget_references()
    wanted = kept(footage)
    frames: dict[int, Frame] = {}
    sizes: list[int] = []
    references: list[Reference] = []
    under_way: list[tuple[Reference, bytes]] = []
    for position, place in enumerate(footage.order):
        picture = from_video_frame(footage.pictures[place])
        coded = encoder.encode(picture, position / fps)
        sizes.append(len(coded.lr))
        if coded.reference is not None and reference_bytes:
            crossing_s = len(coded.reference) * 8 / 1000 / (REFERENCE_BURST * kbps)
            arrival = Reference(position + round(crossing_s * fps), len(coded.reference))
            references.append(arrival)
            under_way.append((arrival, coded.reference))
        while under_way and under_way[0][0].position <= position:
            decoder.add_reference(under_way.pop(0)[1])
        small = decoder.decode_lr(coded.lr, coded.index)
        if small is not None and position in wanted:
            frames[position] = decoder.rebuild(small).frame
    details: dict[str, Any] = {"lr_codec": rung.codec, "lr_px": rung.size_px}
    if references:
        lr = count(sizes[footage.settled :], footage.fps).payload_kbps
        total = sum(reference.size for reference in references)
        details |= {"lr_kbps": round(lr, 2), "reference_bytes": total}
    return Coded(footage, kbps, sizes, frames, references, details)


@dataclass(frozen=True, slots=True, eq=False)
class LrStream:
    """A coded LR stream: its pictures, the rung that asked for them, the rates of its last pass."""

    rung: Rung
    pictures: list[bytes] = field(repr=False)
    rates: Rates

    def upsampled(self, size_px: int) -> Iterator[Frame]:
        """Every picture decoded and cubically upsampled to [size_px, size_px, 3]."""
        decoder = LrDecoder(self.rung.codec)
        for data in self.pictures:
            yield resize(decoder.decode(data), size_px)


def fit(footage: Footage, rung: Rung, kbps: float, *, once: bool = False) -> LrStream:
    """The LR stream of `rung`'s codec and size whose rate comes closest to `kbps`.

    once: of the clip played once, rather than of the last pass of the whole play.
    """
    small = [resize(from_video_frame(p), rung.size_px) for p in footage.pictures]
    played = small if once else [small[place] for place in footage.order]

    def code(asked_kbps: float) -> LrStream:
        asked = Rung(rung.codec, rung.size_px, asked_kbps)
        return _lr_stream(played, asked, footage.fps, len(small))

    return meet(kbps, code, MIN_KBPS, MAX_KBPS, _ATTEMPTS)


def _lr_stream(played: Sequence[Frame], rung: Rung, fps: Fraction, measured: int) -> LrStream:
    encoder = LrEncoder(rung, fps)
    pictures = [encoder.encode(frame).data for frame in played]
    return LrStream(rung, pictures, count(map(len, pictures[-measured:]), fps))
