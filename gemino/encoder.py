"""The sending side of the codec, without input or output: frames in, bytes out.

Each frame becomes one picture of the low-resolution (LR) stream. Now and then a reference goes
along, a high-resolution picture that the receiver takes detail from: when, `gemino.schedule` tells.

With `EncoderConfig.first_reference_bytes` a coarse coding of the first goes before it, and is there
in half the time; the receiver puts the finer one in its place. What the receiver holds of a former
call counts as a reference (`receiver_holds`).

With `EncoderConfig.foveate`, LR pictures of AV1 look closer at the face (`gemino.sampling`).

Coding a reference takes as long as fifty LR pictures. With an executor it happens beside, and the
bytes come with a later frame; without one they come at once. Nothing here reads a clock.
"""

from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from gemino.attention import Attention
from gemino.config import FOVEATED_PX, EncoderConfig, Rung
from gemino.frames import Frame, prepare
from gemino.likeness import Thumbnail, thumbnail
from gemino.sampling import shrink
from gemino.schedule import ReferenceSchedule
from gemino.video.lr import LrEncoder
from gemino.video.reference import Fineness, PictureEncoder


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """What one frame became.

    index: counts frames from 0. lr: its LR picture. keyframe: whether that stands alone.
    rung: how it was coded. reference: a new reference's bytes, or None. reference_of: what
    that shows, an earlier frame as a rule.
    """

    index: int
    lr: bytes
    keyframe: bool
    rung: Rung
    reference: bytes | None
    reference_of: Thumbnail | None = None


class Encoder:
    """Encodes the frames of one camera or clip.

    Raises ValueError for a configuration that makes no sense: an odd `output_px` or one outside
    64..1024, an LR stream larger than the output.
    """

    def __init__(self, config: EncoderConfig, executor: Executor | None = None) -> None:
        if config.output_px % 2 or not 64 <= config.output_px <= 1024:
            raise ValueError(f"output_px must be even and in 64..1024, not {config.output_px}")
        self.config = config
        self._check(config.rung)
        self._rung = config.rung
        self._attention = Attention() if config.foveate else None
        self._lr = LrEncoder(config.rung, config.fps)
        self._index = 0
        self._references = ReferenceSchedule(config)
        self._pictures = PictureEncoder(config.reference_max_bytes)
        first_bytes = config.first_reference_bytes
        self._coarse = None if first_bytes is None else PictureEncoder(first_bytes)
        self._to_code: deque[_Task] = deque()
        self._executor = executor
        self._under_way: Future[tuple[_Task, bytes]] | None = None
        self._made_of: Thumbnail | None = None

    @property
    def rung(self) -> Rung:
        """How the next picture is coded."""
        return self._lr.rung

    def set_rung(self, rung: Rung) -> None:
        """Code from the next frame on as `rung` says; a change costs a key frame.

        Its fovea counts for nothing: with `EncoderConfig.foveate` the encoder finds its own.
        """
        self._check(rung)
        self._rung = rung

    def pay_for_references(self, max_bytes: int, kbps: float) -> None:
        """What one reference may cost from now on, and all of them on average over a minute."""
        self.config = replace(self.config, reference_max_bytes=max_bytes, reference_kbps=kbps)
        self._references.pay_at_most(max_bytes, kbps)
        if max_bytes != self._pictures.max_bytes:
            self._pictures = PictureEncoder(max_bytes)

    def look_evenly(self) -> None:
        """Have no fovea from the next frame on: the receiver does not know it."""
        self._attention = None

    def request_reference(self) -> None:
        """Send a reference with the next frame that may carry one."""
        self._references.wanted = True

    def receiver_holds(self, seen: Thumbnail) -> None:
        """Count the picture `seen` of a former call as a reference: the receiver has it already."""
        self._references.hold(seen)

    def encode(self, frame: Frame, now: float, *, force_keyframe: bool = False) -> EncodedFrame:
        """Encode `frame`, uint8 [H, W, 3] RGB of any size, taken at `now` seconds.

        Raises CodecError where a codec fails.
        """
        picture = prepare(frame, self.config.output_px)
        rung = self._aimed(picture, now)
        if rung != self._lr.rung:
            self._lr.reconfigure(rung)
        coded = self._lr.encode(shrink(picture, rung.sampling), force_keyframe=force_keyframe)
        reference = self._reference(picture, now)
        index, self._index = self._index, self._index + 1
        seen = None if reference is None else self._made_of
        return EncodedFrame(index, coded.data, coded.keyframe, self.rung, reference, seen)

    def _aimed(self, picture: Frame, now: float) -> Rung:
        """The rung that is asked for, with its fovea on the face."""
        rung = replace(self._rung, fovea=None)
        if self._attention is None or rung.codec != "av1" or rung.size_px not in FOVEATED_PX:
            return rung
        return replace(rung, fovea=self._attention.update(picture, now))

    def _reference(self, picture: Frame, now: float) -> bytes | None:
        busy = self._under_way is not None or bool(self._to_code)
        # Watched on every frame: a cut is seen only between neighbours.
        seen = thumbnail(picture)
        due = self._references.due(seen, now, busy=busy)
        if due is not None:
            self._made_of = seen
            encoders = [self._pictures] if self._coarse is None else [self._coarse, self._pictures]
            self._to_code.extend(_Task(encoder, picture, due) for encoder in encoders)
        coded = self._next_coded()
        if coded is None:
            return None
        task, data = coded
        if task.encoder is self._coarse and task.encoder.finest:
            self._to_code.clear()
        self._references.pay(
            len(data), replaced=bool(self._to_code), as_good_as_asked=task.encoder.finest
        )
        self._coarse = None
        return data

    def _next_coded(self) -> tuple["_Task", bytes] | None:
        """The next reference that is coded, of those that are due, and its bytes."""
        if self._executor is None:
            return self._to_code.popleft().done() if self._to_code else None
        if self._under_way is None and self._to_code:
            self._under_way = self._executor.submit(self._to_code.popleft().done)
        if self._under_way is None or not self._under_way.done():
            return None
        coded, self._under_way = self._under_way.result(), None
        return coded

    def _check(self, rung: Rung) -> None:
        if rung.size_px > self.config.output_px:
            raise ValueError(
                f"an LR stream of {rung.size_px} px is larger than the output, "
                f"{self.config.output_px} px"
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A picture that is to become a reference."""

    encoder: PictureEncoder
    picture: Frame
    fineness: Fineness

    def done(self) -> tuple["_Task", bytes]:
        """This task, and the bytes that come of it. Raises CodecError where the codec fails."""
        return self, self.encoder.encode(self.picture, self.fineness)
