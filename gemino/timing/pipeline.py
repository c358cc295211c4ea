"""The stages of one frame, from camera to shown picture, ready to be timed.

The camera is made up: a soft picture with texture, swaying, and noise that is new in every frame.
What is timed depends little on what is seen; codecs are a little slower on real footage.
"""

import math
from collections.abc import Iterator
from itertools import cycle

import cv2
import numpy as np

from gemino.config import Fovea, Rung, Sampling
from gemino.decoder import Decoder
from gemino.frames import Frame, prepare, resize
from gemino.runtime import Synthesizer
from gemino.sampling import shrink, straighten
from gemino.timing.stopwatch import Stage
from gemino.timing.subject import Subject
from gemino.video.lr import LrDecoder, LrEncoder
from gemino.video.reference import PictureEncoder, decode_picture

RUNG = Rung("av1", 128, 12.0)
"""The LR stream of a call at 15 kbps."""
_FOVEA = Fovea(16, 12, 5)
"""Of the stages that only `--fovea` has."""
WHOLE = "whole synthesis"
BICUBIC = "bicubic upsampling"
END_TO_END = "end to end"
_BITS = -5.0  # log2 of bits per pixel at that rate
_CAMERA_PX = (1920, 1080)
_CAMERA_FRAMES = 4
_VPX_KBPS = 1000.0
_PER_REFERENCE = 8
"""What happens once for each reference is timed in one of so many turns."""


def camera() -> Iterator[Frame]:
    """Pictures uint8 [1080, 1920, 3] without end."""
    rng = np.random.default_rng(0)
    width, height = _CAMERA_PX
    soft = cv2.resize(rng.integers(40, 216, (18, 32, 3)).astype(np.float32), _CAMERA_PX)
    still = soft + rng.standard_normal((height, width, 1), np.float32) * 6
    frames = []
    for at in range(_CAMERA_FRAMES):
        moved = np.roll(still, round(8 * math.sin(math.tau * at / _CAMERA_FRAMES)), axis=1)
        noisy = moved + rng.standard_normal((height, width, 1), np.float32) * 2
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return cycle(frames)


def codec_stages(subject: Subject) -> list[Stage]:
    """Everything between camera and screen; leaves the synthesizer with a reference.

    Once for each reference: what its name says.
    """
    synthesizer = subject.synthesizer
    size = synthesizer.output_px
    frames = camera()
    picture = prepare(next(frames), size)
    synthesizer.add_reference(picture)
    small = shrink(picture, RUNG.sampling)
    foveated = Sampling(RUNG.size_px, _FOVEA)
    bent = shrink(picture, foveated)
    small_ones = cycle([shrink(prepare(next(frames), size), RUNG.sampling) for _ in range(4)])
    link = _Link(RUNG)
    coded = PictureEncoder(24 * size).encode(picture)
    synthesizer.synthesize(small, RUNG.sampling, _BITS)  # its sampling is known from here on
    on_gpu = subject.device.type != "cpu"
    parts = subject.parts(small, RUNG.sampling, _BITS)
    return [
        Stage("prepare", lambda: prepare(next(frames), size)),
        Stage("shrink", lambda: shrink(picture, RUNG.sampling)),
        Stage("fovea: shrink", lambda: shrink(picture, foveated)),
        Stage("LR encode", lambda: link.send(next(small_ones))),
        Stage("LR decode", link.receive),
        Stage("fovea: straighten", lambda: straighten(bent, _FOVEA)),
        *(Stage(name, call, on_gpu) for name, call in parts.items()),
        Stage(WHOLE, lambda: synthesizer.synthesize(small, RUNG.sampling, _BITS)),
        Stage(END_TO_END, _EndToEnd(synthesizer, frames)),
        Stage(
            "reference: still encode",
            lambda: PictureEncoder(24 * size).encode(picture),
            every=_PER_REFERENCE,
        ),
        Stage("reference: still decode", lambda: decode_picture(coded), every=_PER_REFERENCE),
        Stage(
            "reference: encode features",
            lambda: synthesizer.add_reference(picture),
            every=_PER_REFERENCE,
        ),
    ]


def rival_stages(output_px: int) -> list[Stage]:
    """What the same picture costs otherwise: VP8 at full size, and cubic upsampling."""
    frames = camera()
    full = cycle([prepare(next(frames), output_px) for _ in range(4)])
    even = resize(next(full), RUNG.size_px)
    link = _Link(Rung("vp8", output_px, _VPX_KBPS))

    def there_and_back() -> Frame:
        link.send(next(full))
        return link.receive()

    return [
        Stage(vp8(output_px), there_and_back),
        Stage(BICUBIC, lambda: resize(even, output_px)),
    ]


def vp8(output_px: int) -> str:
    """Name of that stage."""
    return f"VP8 {output_px} encode and decode"


class _Link:
    """An encoder and the decoder of its stream."""

    def __init__(self, rung: Rung) -> None:
        self._encoder, self._decoder = LrEncoder(rung), LrDecoder(rung.codec)
        self._sent: list[bytes] = []

    def send(self, frame: Frame) -> None:
        self._sent.append(self._encoder.encode(frame).data)

    def receive(self) -> Frame:
        return self._decoder.decode(self._sent.pop())


class _EndToEnd:
    """One frame of one stream, from the camera's to the shown one."""

    def __init__(self, synthesizer: Synthesizer, frames: Iterator[Frame]) -> None:
        self._size, self._frames = synthesizer.output_px, frames
        self._encoder, self._decoder = LrEncoder(RUNG), Decoder(synthesizer, RUNG.codec)

    def __call__(self) -> object:
        picture = prepare(next(self._frames), self._size)
        coded = self._encoder.encode(shrink(picture, RUNG.sampling))
        return self._decoder.decode(coded.data)
