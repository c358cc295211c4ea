"""Gemino over a clip without a call: the same Encoder and Decoder, and an ideal link between them.

The link loses nothing. It carries LR pictures as they come and a reference at `REFERENCE_BURST`
times the total rate, as the sender of a call does; until the first one is there, the receiver
upsamples. What references do not take of the rate, the LR stream has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from gemino.config import (
    MAX_KBPS,
    MIN_KBPS,
    REFERENCE_AMORTISATION_S,
    REFERENCE_BURST,
    EncoderConfig,
    LrCodec,
    Rung,
    ladder,
    reference_budget_bytes,
    reference_kbps,
)
from gemino.decoder import Decoder
from gemino.encoder import Encoder
from gemino.evaluation.clips import Footage
from gemino.evaluation.codecs import Coded, Reference, first_pass, kept
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import Frame, from_video_frame, resize
from gemino.runtime import Synthesizer
from gemino.video.lr import LrDecoder, LrEncoder

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

    synthesizer: rebuilds; its references are replaced. stream: its LR stream. reference_bytes: most
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
        share = reference_kbps(kbps, footage.size_px)
        config = EncoderConfig(
            footage.size_px,
            self.stream.rung(kbps - share),
            footage.fps,
            reference_max_bytes=most,
            reference_kbps=share,
        )
        # References follow from the pictures alone, so what they take is known beforehand.
        sent = sum(len(reference) for _, reference in _references(footage, config))
        lr_kbps = max(kbps - sent * 8 / 1000 / REFERENCE_AMORTISATION_S, 1.0)
        rung = fit(footage, self.stream.rung(lr_kbps), lr_kbps).rung
        return _play(footage, kbps, replace(config, rung=rung), self.synthesizer)


@dataclass(frozen=True, slots=True)
class Bicubic:
    """An LR stream with the whole rate to itself, cubically upsampled."""

    name: str
    stream: Stream = field(default_factory=Stream)

    def run(self, footage: Footage, kbps: float) -> Coded:
        """Code the play with an LR stream of `kbps`. Raises CodecError where the codec fails."""
        stream = fit(footage, self.stream.rung(kbps), kbps)
        wanted = kept(footage)
        shown = enumerate(stream.upsampled(footage.size_px))
        frames = {position: frame for position, frame in shown if position in wanted}
        details = {"lr_codec": stream.rung.codec, "lr_px": stream.rung.size_px}
        return Coded(footage, kbps, [len(p) for p in stream.pictures], frames, details=details)


def _references(footage: Footage, config: EncoderConfig) -> Iterator[tuple[int, bytes]]:
    """The references that an Encoder sends over the play, by position."""
    encoder = Encoder(config)
    for position, place in enumerate(footage.order):
        now = position / float(footage.fps)
        coded = encoder.encode(from_video_frame(footage.pictures[place]), now)
        if coded.reference is not None:
            yield position, coded.reference


def _play(footage: Footage, kbps: float, config: EncoderConfig, synthesizer: Synthesizer) -> Coded:
    """The whole play through an Encoder and a Decoder."""
    fps, rung = float(footage.fps), config.rung
    encoder, decoder = Encoder(config), Decoder(synthesizer, rung.codec)
    synthesizer.forget_references()
    wanted = kept(footage) | set(first_pass(footage).values())
    frames: dict[int, Frame] = {}
    sizes: list[int] = []
    references: list[Reference] = []
    under_way: list[tuple[Reference, bytes]] = []
    for position, place in enumerate(footage.order):
        picture = from_video_frame(footage.pictures[place])
        coded = encoder.encode(picture, position / fps)
        sizes.append(len(coded.lr))
        if coded.reference is not None:
            crossing_s = len(coded.reference) * 8 / 1000 / (REFERENCE_BURST * kbps)
            arrival = Reference(position + round(crossing_s * fps), len(coded.reference))
            references.append(arrival)
            under_way.append((arrival, coded.reference))
        while under_way and under_way[0][0].position <= position:
            decoder.add_reference(under_way.pop(0)[1])
        small = decoder.decode_lr(coded.lr, coded.index)
        if small is not None and position in wanted:
            frames[position] = decoder.rebuild(small).frame
    details = {
        "lr_codec": rung.codec,
        "lr_px": rung.size_px,
        "lr_kbps": round(count(sizes[footage.settled :], footage.fps).payload_kbps, 2),
        "references": len(references),
        "reference_bytes": sum(reference.size for reference in references),
    }
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
