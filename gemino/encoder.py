"""The sending side of the codec, without input or output: frames in, bytes out.

Each frame becomes one picture of the low-resolution (LR) stream. A reference, the one
high-resolution picture that the receiver takes its detail from, goes along with

- the first frame,
- a frame after `request_reference` (the receiver lost it, or has just joined),
- a frame after a change of scene, while the scene is still another one.

Two references are never closer than `reference_min_interval_s`: one that is due earlier waits.
`now` only spaces references; nothing here reads a clock.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemino.config import EncoderConfig, Rung
from gemino.frames import Frame, prepare, resize
from gemino.video.lr import LrEncoder
from gemino.video.reference import encode_picture

_THUMBNAIL_PX = 16
# Mean absolute difference of 16x16 thumbnails, 0..255, over fifteen clips of talking heads: from
# one frame to the next at most 8, and 15.5 in two with wild movement; cuts between clips of
# different scenes at least 29, and 67 between the two that are shipped. Cuts between two takes
# of one scene gave 6 to 11, and there the old reference still serves.
_SCENE_CHANGE = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """What one frame became.

    index: counts frames from 0. lr: its LR picture. keyframe: whether that stands alone.
    rung: how it was coded. reference: a new reference's bytes, or None.
    """

    index: int
    lr: bytes
    keyframe: bool
    rung: Rung
    reference: bytes | None


class Encoder:
    """Encodes the frames of one camera or clip.

    Raises ValueError for a configuration that makes no sense: an odd `output_px` or one outside
    64..1024, an LR stream larger than the output.
    """

    def __init__(self, config: EncoderConfig) -> None:
        if config.output_px % 2 or not 64 <= config.output_px <= 1024:
            raise ValueError(f"output_px must be even and in 64..1024, not {config.output_px}")
        self.config = config
        self._check(config.rung)
        self._lr = LrEncoder(config.rung, config.fps)
        self._index = 0
        self._wanted = True
        self._reference_time: float | None = None
        self._reference_thumbnail: NDArray[np.int16] | None = None
        self._last_thumbnail: NDArray[np.int16] | None = None
        self._scene_changed = False

    @property
    def rung(self) -> Rung:
        """How the next picture is coded."""
        return self._lr.rung

    def set_rung(self, rung: Rung) -> None:
        """Code from the next frame on as `rung` says; a change costs a key frame."""
        self._check(rung)
        if rung != self._lr.rung:
            self._lr.reconfigure(rung)

    def request_reference(self) -> None:
        """Send a reference with the next frame that may carry one."""
        self._wanted = True

    def encode(self, frame: Frame, now: float, *, force_keyframe: bool = False) -> EncodedFrame:
        """Encode `frame`, uint8 [H, W, 3] RGB of any size, taken at `now` seconds.

        Raises CodecError where a codec fails.
        """
        picture = prepare(frame, self.config.output_px)
        small = resize(picture, self.rung.size_px)
        coded = self._lr.encode(small, force_keyframe=force_keyframe)
        reference = self._reference(picture, small, now)
        index, self._index = self._index, self._index + 1
        return EncodedFrame(index, coded.data, coded.keyframe, self.rung, reference)

    def _reference(self, picture: Frame, small: Frame, now: float) -> bytes | None:
        thumbnail = resize(small, _THUMBNAIL_PX).astype(np.int16)
        is_another = _differ(thumbnail, self._reference_thumbnail)
        cut = is_another and _differ(thumbnail, self._last_thumbnail)
        self._last_thumbnail = thumbnail
        # A cut that comes back before its reference could be sent needs none.
        self._scene_changed = is_another and (cut or self._scene_changed)
        too_soon = (
            self._reference_time is not None
            and now - self._reference_time < self.config.reference_min_interval_s
        )
        if too_soon or not (self._wanted or self._scene_changed):
            return None
        data = encode_picture(picture, self.config.reference_max_bytes)
        self._wanted = self._scene_changed = False
        self._reference_time, self._reference_thumbnail = now, thumbnail
        return data

    def _check(self, rung: Rung) -> None:
        if rung.size_px > self.config.output_px:
            raise ValueError(
                f"an LR stream of {rung.size_px} px is larger than the output, "
                f"{self.config.output_px} px"
            )


def _differ(thumbnail: NDArray[np.int16], other: NDArray[np.int16] | None) -> bool:
    return other is not None and float(np.abs(thumbnail - other).mean()) > _SCENE_CHANGE
