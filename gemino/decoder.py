"""The receiving side of the codec, without input or output: bytes in, frames out.

Whatever arrives, a picture is shown: before the first reference, and without a model, an
upsampled one; for an LR picture that cannot be decoded the last one again; before the first key
frame a grey one. `wants_keyframe` then asks for the key frame that ends the damage.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from gemino.config import MIN_LR_PX, LrCodec, Sampling, interpolates
from gemino.errors import CodecError
from gemino.frames import Frame, letterbox, resize
from gemino.interpolation import halfway
from gemino.rate import BitsPerPixelMeter
from gemino.runtime.base import Synthesizer
from gemino.runtime.origins import Origins
from gemino.sampling import straighten
from gemino.video.lr import LrDecoder
from gemino.video.reference import decode_picture

_GREY = 128


@dataclass(frozen=True, slots=True, eq=False)
class LrPicture:
    """A decoded picture of the LR stream.

    frame: uint8 [s, s, 3] RGB, straightened. sampling: how the coded picture samples the full one.
    log2_bits_per_pixel: how coarse the stream is (`rate`). intact:
    False where the stream is damaged: what is shown may have decayed. decode_ms: time it took.
    whole: a shared screen, uint8 [H, W, 3], which no network draws; `frame` is then a small view.
    """

    frame: Frame
    sampling: Sampling
    log2_bits_per_pixel: float
    intact: bool
    decode_ms: float
    whole: Frame | None = None


def between(before: LrPicture, after: LrPicture) -> LrPicture | None:
    """The picture halfway between two that followed one another (`config.interpolates`).

    None where there is none: across a cut or a change of size, beside damage, on a screen.
    """
    if before.frame.shape != after.frame.shape or not (before.intact and after.intact):
        return None
    if before.whole is not None or after.whole is not None:
        return None
    start = time.perf_counter()
    frame = halfway(before.frame, after.frame)
    if frame is None:
        return None
    return replace(after, frame=frame, decode_ms=(time.perf_counter() - start) * 1000)


class Interpolator:
    """Makes the pictures between those of a stream that has few; for one thread."""

    def __init__(self) -> None:
        self._before: tuple[LrPicture, float] | None = None

    def follow(self, picture: LrPicture, time_s: float) -> None:
        """Take a picture that none is to be made before."""
        self._before = picture, time_s

    def between(self, picture: LrPicture, time_s: float) -> tuple[LrPicture, float] | None:
        """The picture between the last one and this, and its time; None where there is none.

        time_s: when `picture` was taken, in seconds of the stream's own clock.
        """
        before, self._before = self._before, (picture, time_s)
        if before is None or not interpolates(time_s - before[1]):
            return None
        made = between(before[0], picture)
        return None if made is None else (made, (before[1] + time_s) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """A picture to show.

    frame: uint8 [output_px, output_px, 3] RGB. lr: the LR picture it was made from, straightened.
    lr_px: side of the coded one. neural: whether a trained network made it. intact: False where
    the LR stream is damaged: the picture may be a repeated or a decayed one. decode_ms,
    synthesize_ms: time the two stages took. origins: where its detail comes from, where that was
    asked for and a network drew it. whole: a shared screen as it is, uint8 [H, W, 3], which `frame`
    shows with black borders.
    """

    frame: Frame
    lr: Frame
    lr_px: int
    neural: bool
    intact: bool
    decode_ms: float
    synthesize_ms: float
    origins: Origins | None = None
    whole: Frame | None = None


class Decoder:
    """Rebuilds the frames of one sender through `synthesizer`.

    plain: the stream is any WebRTC peer's; its pictures are shown whole, whatever their shape.
    """

    def __init__(
        self, synthesizer: Synthesizer, codec: LrCodec = "vp8", *, plain: bool = False
    ) -> None:
        self.synthesizer = synthesizer
        self.plain = plain
        self._lr = LrDecoder(codec, plain=plain)
        self._rate = BitsPerPixelMeter(codec)
        side = synthesizer.output_px
        grey, small = _grey(side), _grey(MIN_LR_PX)
        self._last = DecodedFrame(grey, small, MIN_LR_PX, False, False, 0.0, 0.0)

    @property
    def wants_keyframe(self) -> bool:
        """Whether the LR stream is damaged, or has not begun: only a key frame mends it."""
        return not self._lr.intact

    def add_reference(self, data: bytes) -> None:
        """Take detail from this reference too, wherever it is the likest of those held.

        Raises CodecError for a reference that cannot be decoded; the others stay.
        """
        self.synthesizer.add_reference(decode_picture(data))

    def decode(self, lr: bytes, index: int | None = None) -> DecodedFrame:
        """The frame for one LR picture; never raises for what it contains.

        index: counts coded pictures, compared modulo 2**15, so that lost ones are noticed.
        """
        picture = self.decode_lr(lr, index)
        return self.repeat() if picture is None else self.rebuild(picture)

    def repeat(self) -> DecodedFrame:
        """The last frame again, for a picture that cannot be decoded."""
        return replace(self._last, intact=False, decode_ms=0.0, synthesize_ms=0.0)

    def decode_lr(self, lr: bytes, index: int | None = None) -> LrPicture | None:
        """The cheap half of `decode`, for every picture in order: the LR stream goes on.

        None for a picture that cannot be decoded: the last frame is to be shown again.
        """
        start = time.perf_counter()
        try:
            frame = self._lr.decode(lr, index)
        except CodecError:
            return None
        if self.plain:
            frame = letterbox(frame)
        elif frame.shape[0] != frame.shape[1]:
            small = resize(letterbox(frame), MIN_LR_PX)
            taken_ms = (time.perf_counter() - start) * 1000
            return LrPicture(small, Sampling(MIN_LR_PX), 0.0, self._lr.intact, taken_ms, frame)
        level = self._rate.update(len(lr), frame.shape[0])
        sampling = Sampling(frame.shape[0], self._lr.fovea)
        even = straighten(frame, sampling.fovea)
        self.synthesizer.watch(even)
        taken_ms = (time.perf_counter() - start) * 1000
        return LrPicture(even, sampling, level, self._lr.intact, taken_ms)

    def rebuild(self, picture: LrPicture, *, explain: bool = False) -> DecodedFrame:
        """The costly half of `decode`, for pictures that are shown.

        explain: say where the detail comes from, too. Frames do not depend on one another: several
        threads may rebuild at a time.
        """
        start = time.perf_counter()
        if picture.whole is not None:
            return self._show_whole(picture, picture.whole, start)
        neural = self.synthesizer.neural
        told = picture.frame, picture.sampling, picture.log2_bits_per_pixel
        origins: Origins | None = None
        if explain:
            frame, origins = self.synthesizer.explain(*told)
        else:
            frame = self.synthesizer.synthesize(*told)
        self._last = DecodedFrame(
            frame=frame,
            lr=picture.frame,
            lr_px=picture.sampling.size_px,
            neural=neural,
            intact=picture.intact,
            decode_ms=picture.decode_ms,
            synthesize_ms=(time.perf_counter() - start) * 1000,
            origins=origins,
        )
        return self._last

    def _show_whole(self, picture: LrPicture, whole: Frame, start: float) -> DecodedFrame:
        frame = resize(letterbox(whole), self.synthesizer.output_px)
        side, taken_ms = max(whole.shape), (time.perf_counter() - start) * 1000
        told = picture.intact, picture.decode_ms, taken_ms
        self._last = DecodedFrame(frame, picture.frame, side, False, *told, whole=whole)
        return self._last


def _grey(side: int) -> Frame:
    return np.full((side, side, 3), _GREY, np.uint8)
