"""The sending side of the codec, without input or output: frames in, bytes out.

Each frame becomes one picture of the low-resolution (LR) stream. A reference, a high-resolution
picture that the receiver takes detail from, goes along with

- the first frame,
- a frame after `request_reference` (the receiver lost them, or has just joined),
- a frame after a change of scene, while none of the references fits the scene,
- a frame that is unlike all references so far, as long as `reference_kbps` pays for it: a head
  turned, a mouth open, a hand up. No minute holds more than a minute's worth, nor more than a
  receiver keeps.

With `EncoderConfig.first_reference_bytes` a coarse coding of the first goes before it, and is there
in half the time; the receiver puts the finer one in its place. In a thin stream it comes on top of
what is paid for. For the same reason the picture of a head that keeps still is coded once more,
finer, after some seconds without a new pose; where there is plenty to pay with, references are that
fine at once. What the receiver holds of a former call counts as a reference (`receiver_holds`).

A reference that is wished for is paid for like one of a new scene: a receiver that wishes for more
than two minutes' worth in one gets no more, for the LR stream has to live as well.

Two references are never closer than `reference_min_interval_s`: one that is due earlier waits. But
a new scene waits for former scenes alone, not for a pose that was sent the moment before.
`now` only spaces references and counts the bytes of the last minute; nothing here reads a clock.

With `EncoderConfig.foveate`, LR pictures of AV1 look closer at the face (`gemino.sampling`).

Coding a reference takes as long as fifty LR pictures. With an executor it happens beside, and the
bytes come with a later frame; without one they come at once.
"""

from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Literal

from gemino.attention import Attention
from gemino.config import (
    FOVEATED_PX,
    REFERENCE_AMORTISATION_S,
    REFERENCES_HELD,
    EncoderConfig,
    Rung,
)
from gemino.frames import Frame, prepare
from gemino.likeness import (
    NEW_POSE,
    SAME_PICTURE,
    SCENE_CHANGE,
    Thumbnail,
    difference,
    thumbnail,
)
from gemino.sampling import shrink
from gemino.video.lr import LrEncoder
from gemino.video.reference import PictureEncoder

_COARSE_SHARE = 1 / 8
"""Of a minute's worth: a coarse reference that takes more costs a pose (below some 12 kbps)."""
_CALM_S = 5.0
"""So long after the last new pose a finer picture of the same one pays."""
_FINER_PRICE = 1.6
"""What the finer coding of a picture costs, in terms of the first: some 1.5 times as much."""
_RESERVE = 2.0
"""New poses that can still be paid for after it, at least."""
_RICH = 0.5
"""Of what a receiver holds, at the most that each may cost: where a minute pays for so much, there
is hardly ever another pose to save for (from some 30 kbps on)."""


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
        self._references = _ReferenceSchedule(config)
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
            finer = due == "finer"
            self._to_code.extend(_Task(encoder, picture, finer) for encoder in encoders)
        coded = self._next_coded()
        if coded is None:
            return None
        task, data = coded
        if task.encoder is self._coarse and task.encoder.finest:
            self._to_code.clear()
        self._references.pay(
            len(data), replaced=bool(self._to_code), finer=task.finer, finest=task.encoder.finest
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
    """A picture that is to become a reference. finer: see `PictureEncoder.encode`."""

    encoder: PictureEncoder
    picture: Frame
    finer: bool

    def done(self) -> tuple["_Task", bytes]:
        """This task, and the bytes that come of it. Raises CodecError where the codec fails."""
        return self, self.encoder.encode(self.picture, finer=self.finer)


@dataclass(slots=True, eq=False)
class _Held:
    """A reference that the receiver has. improvable: a finer coding of it would be better."""

    seen: Thumbnail
    improvable: bool = False


class _ReferenceSchedule:
    """When a reference is due; see the essay above."""

    def __init__(self, config: EncoderConfig) -> None:
        self.wanted = True
        self._min_interval_s = config.reference_min_interval_s
        self.pay_at_most(config.reference_max_bytes, config.reference_kbps)
        # When, how much, and whether the receiver holds it: what was paid in the last minute.
        self._paid: deque[tuple[float, int, bool]] = deque()
        self._price = config.reference_max_bytes  # what the next one costs, by the last one
        self._held: deque[_Held] = deque(maxlen=REFERENCES_HELD)
        self._newest: _Held | None = None  # what was due last
        self._improves_one = False  # instead of being one more
        self._previous: Thumbnail | None = None
        self._scene_changed = False
        self._sent_at: float | None = None
        self._scene_sent_at: float | None = None
        self._now = 0.0

    def hold(self, seen: Thumbnail) -> None:
        """The receiver has a picture like `seen`."""
        self._held.append(_Held(seen))

    def pay_at_most(self, max_bytes: int, kbps: float) -> None:
        """Another budget, for the minute that has been as well."""
        self._minute_bytes = kbps * 125 * REFERENCE_AMORTISATION_S
        # With no budget for poses nothing is saved for them.
        self._rich = not kbps or self._minute_bytes >= _RICH * REFERENCES_HELD * max_bytes

    def due(self, seen: Thumbnail, now: float, *, busy: bool) -> Literal["plain", "finer"] | None:
        """Whether the picture `seen` at `now` is to become a reference, and how it is coded; then
        it counts as one."""
        self._now = now
        while self._paid and now - self._paid[0][0] >= REFERENCE_AMORTISATION_S:
            self._paid.popleft()
        spent = sum(size for _, size, _ in self._paid)
        likest = min(self._held, key=lambda held: difference(seen, held.seen), default=None)
        unlike = 0.0 if likest is None else difference(seen, likest.seen)
        cut = self._previous is not None and difference(seen, self._previous) > SCENE_CHANGE
        self._previous = seen
        # A cut that comes back before its reference could be sent needs none.
        self._scene_changed = unlike > SCENE_CHANGE and (cut or self._scene_changed)
        # One more would push out one of the same minute.
        room = sum(held for *_, held in self._paid) < REFERENCES_HELD
        novel = unlike > NEW_POSE and room and spent + self._price <= self._minute_bytes
        # A new scene may cost a minute's worth more, but no more: some clips are all cuts.
        affordable = not self._minute_bytes or spent <= 2 * self._minute_bytes
        cut = self._scene_changed and affordable
        wanted = (self.wanted and room and affordable) or novel
        if busy:
            return None
        if (cut and self._rested(self._scene_sent_at)) or (wanted and self._rested(self._sent_at)):
            if cut or not self._held:
                self._scene_sent_at = now
            self.wanted = self._scene_changed = False
            self._newest, self._improves_one = _Held(seen), False
            self._held.append(self._newest)
            self._sent_at = now
            return "finer" if self._rich else "plain"
        if likest is not None and unlike <= SAME_PICTURE and self._improves(likest, spent):
            likest.seen, likest.improvable = seen, False
            self._newest, self._improves_one = likest, True
            self._sent_at = now
            return "finer"
        return None

    def _improves(self, held: _Held, spent: int) -> bool:
        """Whether a finer coding of `held` is worth its bytes now."""
        calm = self._rested(self._sent_at, _CALM_S)
        price = (_FINER_PRICE + _RESERVE) * self._price
        return held.improvable and calm and spent + price <= self._minute_bytes

    def _rested(self, since: float | None, interval_s: float | None = None) -> bool:
        """Whether the least interval, or another one, has gone by since then."""
        interval_s = self._min_interval_s if interval_s is None else interval_s
        return since is None or self._now - since >= interval_s

    def pay(self, size_bytes: int, *, replaced: bool, finer: bool, finest: bool) -> None:
        """Account for a reference that was sent.

        replaced: by a finer one that follows. finer: coded as fine as there is use for, and finest:
        as fine as its coding allows (`PictureEncoder`).
        """
        assert self._newest is not None
        self._newest.improvable = finest and not finer
        # In a thin stream one that is replaced is not paid for: it would cost another pose.
        if replaced and size_bytes > _COARSE_SHARE * self._minute_bytes:
            return
        one_more = not replaced and not self._improves_one
        if one_more:
            self._price = size_bytes
        self._paid.append((self._now, size_bytes, one_more))
