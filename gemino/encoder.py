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
what is paid for. What the receiver holds of a former call counts as a reference (`receiver_holds`).

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

from gemino.attention import Attention
from gemino.config import (
    FOVEATED_PX,
    REFERENCE_AMORTISATION_S,
    REFERENCES_HELD,
    EncoderConfig,
    Rung,
)
from gemino.frames import Frame, prepare
from gemino.likeness import NEW_POSE, SCENE_CHANGE, Thumbnail, difference, thumbnail
from gemino.sampling import shrink
from gemino.video.lr import LrEncoder
from gemino.video.reference import PictureEncoder

_COARSE_SHARE = 1 / 8
"""Of a minute's worth: a coarse reference that takes more costs a pose (below some 12 kbps)."""


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
        self._to_code: deque[tuple[PictureEncoder, Frame]] = deque()
        self._executor = executor
        self._under_way: Future[bytes] | None = None
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
        self._references.pay_at_most(kbps)
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
        if self._references.due(seen, now, busy=busy):
            self._made_of = seen
            if self._coarse is not None:
                self._to_code.append((self._coarse, picture))
            self._to_code.append((self._pictures, picture))
        data = self._next_coded()
        if data is not None:
            if self._coarse is not None and self._coarse.finest:
                self._to_code.clear()
            self._references.pay(len(data), coarse=bool(self._to_code))
            self._coarse = None
        return data

    def _next_coded(self) -> bytes | None:
        """The next reference that is coded, of those that are due."""
        if self._executor is None:
            if not self._to_code:
                return None
            encoder, picture = self._to_code.popleft()
            return encoder.encode(picture)
        if self._under_way is None and self._to_code:
            encoder, picture = self._to_code.popleft()
            self._under_way = self._executor.submit(encoder.encode, picture)
        if self._under_way is None or not self._under_way.done():
            return None
        data, self._under_way = self._under_way.result(), None
        return data

    def _check(self, rung: Rung) -> None:
        if rung.size_px > self.config.output_px:
            raise ValueError(
                f"an LR stream of {rung.size_px} px is larger than the output, "
                f"{self.config.output_px} px"
            )


class _ReferenceSchedule:
    """When a reference is due; see the essay above."""

    def __init__(self, config: EncoderConfig) -> None:
        self.wanted = True
        self._min_interval_s = config.reference_min_interval_s
        self.pay_at_most(config.reference_kbps)
        # When, how much, and whether the receiver holds it: what was paid in the last minute.
        self._paid: deque[tuple[float, int, bool]] = deque()
        self._price = config.reference_max_bytes  # what the next one costs, by the last one
        self._held: deque[Thumbnail] = deque(maxlen=REFERENCES_HELD)
        self._previous: Thumbnail | None = None
        self._scene_changed = False
        self._sent_at: float | None = None
        self._scene_sent_at: float | None = None
        self._now = 0.0

    def hold(self, seen: Thumbnail) -> None:
        """The receiver has a picture like `seen`."""
        self._held.append(seen)

    def pay_at_most(self, kbps: float) -> None:
        """Another budget, for the minute that has been as well."""
        self._minute_bytes = kbps * 125 * REFERENCE_AMORTISATION_S

    def due(self, seen: Thumbnail, now: float, *, busy: bool) -> bool:
        """Whether the picture `seen` at `now` is to become a reference; then it counts as one."""
        self._now = now
        while self._paid and now - self._paid[0][0] >= REFERENCE_AMORTISATION_S:
            self._paid.popleft()
        spent = sum(size for _, size, _ in self._paid)
        unlike = min((difference(seen, held) for held in self._held), default=0.0)
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
        if busy or not (
            (cut and self._rested(self._scene_sent_at)) or (wanted and self._rested(self._sent_at))
        ):
            return False
        if cut or not self._held:
            self._scene_sent_at = now
        self.wanted = self._scene_changed = False
        self._held.append(seen)
        self._sent_at = now
        return True

    def _rested(self, since: float | None) -> bool:
        """Whether the least interval has gone by since then."""
        return since is None or self._now - since >= self._min_interval_s

    def pay(self, size_bytes: int, *, coarse: bool) -> None:
        """Account for a reference that was sent; coarse: a finer one will take its place.

        In a thin stream a coarse one is not paid for: it would cost another pose.
        """
        if coarse and size_bytes > _COARSE_SHARE * self._minute_bytes:
            return
        self._price = self._price if coarse else size_bytes
        self._paid.append((self._now, size_bytes, not coarse))
