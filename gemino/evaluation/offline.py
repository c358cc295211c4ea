"""Gemino over a clip without a call: the same Encoder and Decoder, and an ideal link between them.

The link loses nothing. It carries LR pictures as they come and a reference at `REFERENCE_BURST`
times the total rate, as the sender of a call does; until the first one is there, the receiver
upsamples. What references do not take of the rate, the LR stream has.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from gemino.attention import Attention
from gemino.config import (
    FOVEATED_PX,
    MAX_KBPS,
    MIN_KBPS,
    REFERENCE_AMORTISATION_S,
    REFERENCE_BURST,
    EncoderConfig,
    Fovea,
    LadderSteps,
    LrCodec,
    Rung,
    Sampling,
    first_reference_bytes,
    frame_step,
    interpolates,
    ladder,
    reference_budget_bytes,
    reference_kbps,
)
from gemino.decoder import Decoder, LrPicture, between
from gemino.encoder import Encoder
from gemino.evaluation.clips import Footage
from gemino.evaluation.codecs import Coded, Reference, first_pass, kept
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import Frame, from_video_frame, resize
from gemino.runtime import Synthesizer
from gemino.sampling import shrink
from gemino.video.lr import LrDecoder, LrEncoder

_BEST_CODEC: LrCodec = "av1"
_ATTEMPTS = 3  # a small stream codes fast, and its rate decides which clips compare


@dataclass(frozen=True, slots=True)
class Stream:
    """Which LR stream to use; None: what the ladder says for the rate.

    foveate: whether it may look closer at the face. every: send all pictures of a thin stream, too.
    ladders: the model's.
    """

    codec: LrCodec | None = None
    size_px: int | None = None
    foveate: bool = False
    every: bool = False
    ladders: Mapping[LrCodec, LadderSteps] = field(default_factory=dict)

    def rung(self, kbps: float) -> Rung:
        kbps = min(max(kbps, MIN_KBPS), MAX_KBPS)
        codec = self.codec or _BEST_CODEC
        rung = ladder(kbps, codec, self.ladders.get(codec))
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
        step = frame_step(footage.fps, kbps, halve=not self.stream.every)
        config = EncoderConfig(
            footage.size_px,
            self.stream.rung(kbps - share),
            footage.fps / step,
            reference_max_bytes=most,
            reference_kbps=share,
            foveate=self.stream.foveate,
            first_reference_bytes=first_reference_bytes(footage.size_px),
        )
        # References follow from the pictures alone, so what they take is known beforehand.
        sent = sum(len(reference) for _, reference in _references(footage, config, step))
        lr_kbps = max(kbps - sent * 8 / 1000 / REFERENCE_AMORTISATION_S, 1.0)
        rung = self.stream.rung(lr_kbps)
        rung = fit(footage, rung, lr_kbps, step=step, foveate=self.stream.foveate).rung
        return _play(footage, kbps, replace(config, rung=rung), self.synthesizer, step)


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


def _references(footage: Footage, config: EncoderConfig, step: int) -> Iterator[tuple[int, bytes]]:
    """The references that an Encoder sends over the play, by position."""
    encoder = Encoder(replace(config, foveate=False))  # which its references do not depend on
    for position, place in _sent(footage, step):
        now = position / float(footage.fps)
        coded = encoder.encode(from_video_frame(footage.pictures[place]), now)
        if coded.reference is not None:
            yield position, coded.reference


def _sent(footage: Footage, step: int) -> list[tuple[int, int]]:
    """Position and place of each frame that is sent: every `step`-th."""
    return list(enumerate(footage.order))[::step]


def _play(
    footage: Footage, kbps: float, config: EncoderConfig, synthesizer: Synthesizer, step: int
) -> Coded:
    """The whole play through an Encoder and a Decoder.

    A frame not sent shows the one before, or what a receiver makes of its two neighbours.
    """
    fps, rung = float(footage.fps), config.rung
    encoder, decoder = Encoder(config), Decoder(synthesizer, rung.codec)
    synthesizer.forget_references()
    wanted = kept(footage) | set(first_pass(footage).values())
    apart = step // 2 if interpolates(step / fps) else step
    drawn = {position - position % apart for position in wanted}
    frames: dict[int, Frame] = {}
    sizes = [0] * len(footage.order)
    references: list[Reference] = []
    under_way: list[tuple[Reference, bytes]] = []
    before: LrPicture | None = None
    for position, place in _sent(footage, step):
        picture = from_video_frame(footage.pictures[place])
        coded = encoder.encode(picture, position / fps)
        sizes[position] = len(coded.lr)
        if coded.reference is not None:
            crossing_s = len(coded.reference) * 8 / 1000 / (REFERENCE_BURST * kbps)
            arrival = Reference(position + round(crossing_s * fps), len(coded.reference))
            references.append(arrival)
            under_way.append((arrival, coded.reference))
        while under_way and under_way[0][0].position <= position:
            decoder.add_reference(under_way.pop(0)[1])
        small = decoder.decode_lr(coded.lr, coded.index)
        half = position - apart
        if before is not None and small is not None and half in drawn and half not in frames:
            frames[half] = decoder.rebuild(between(before, small) or before).frame
        if small is not None and position in drawn:
            frames[position] = decoder.rebuild(small).frame
        before = small
    if before is not None and position + apart in drawn:  # nothing follows the last one
        frames[position + apart] = decoder.rebuild(before).frame
    frames = {at: frames[at - at % apart] for at in wanted if at - at % apart in frames}
    delay = apart if apart < step else 0
    details = {
        "lr_codec": rung.codec,
        "lr_px": rung.size_px,
        "frame_step": step,
        "lr_kbps": round(count(sizes[footage.settled :], footage.fps).payload_kbps, 2),
        "references": len(references),
        "reference_bytes": sum(reference.size for reference in references),
    }
    return Coded(footage, kbps, sizes, frames, references, delay, details)


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


def fit(
    footage: Footage,
    rung: Rung,
    kbps: float,
    *,
    once: bool = False,
    step: int = 1,
    foveate: bool = False,
) -> LrStream:
    """The LR stream of `rung`'s codec and size whose rate comes closest to `kbps`.

    once: of the clip played once, rather than of the last pass of the whole play. step, foveate:
    as an Encoder's.
    """
    order = range(len(footage.pictures)) if once else footage.order
    attention = Attention() if foveate and rung.codec == "av1" else None
    fps = footage.fps / step
    shrunk: dict[tuple[int, Fovea | None], Frame] = {}
    played: list[tuple[Frame, Fovea | None]] = []
    for count_sent, place in enumerate(order[::step]):
        fovea = None
        if attention is not None and rung.size_px in FOVEATED_PX:
            picture = from_video_frame(footage.pictures[place])
            fovea = attention.update(picture, count_sent / float(fps))
        if (place, fovea) not in shrunk:
            picture = from_video_frame(footage.pictures[place])
            shrunk[place, fovea] = shrink(picture, Sampling(rung.size_px, fovea))
        played.append((shrunk[place, fovea], fovea))

    def code(asked_kbps: float) -> LrStream:
        asked = Rung(rung.codec, rung.size_px, asked_kbps)
        return _lr_stream(played, asked, fps, math.ceil(len(footage.pictures) / step))

    return meet(kbps, code, MIN_KBPS, MAX_KBPS, _ATTEMPTS)


def _lr_stream(
    played: list[tuple[Frame, Fovea | None]], rung: Rung, fps: Fraction, measured: int
) -> LrStream:
    encoder = LrEncoder(replace(rung, fovea=played[0][1]), fps)
    pictures = []
    for frame, fovea in played:
        if fovea != encoder.rung.fovea:
            encoder.reconfigure(replace(rung, fovea=fovea))
        pictures.append(encoder.encode(frame).data)
    return LrStream(rung, pictures, count(map(len, pictures[-measured:]), fps))
