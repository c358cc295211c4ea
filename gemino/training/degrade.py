"""What a clip looks like after the real codec: cached sequences for training.

Each clip is played through the very encoder of a call, whole and inter-coded, at several rungs. A
lone key frame per picture would be cleaner than what a call delivers, and the network would learn
to trust what it will never see. References pass through the real still codec.

Kept on disk as plain .npy arrays, memory-mapped when read, every `stride`-th picture only (the
codec still sees all of them). The folder's name carries a fingerprint of clip and settings, so a
change of either builds anew; a half-built folder is never taken for a whole one.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gemino import faces, media
from gemino.config import Fovea
from gemino.errors import MediaError
from gemino.frames import Frame, resize
from gemino.rate import BitsPerPixelMeter
from gemino.sampling import shrink
from gemino.training.sequence import ACTIVITY_PX, Sequence, SequenceSettings
from gemino.video.lr import LrDecoder, LrEncoder
from gemino.video.reference import decode_picture, encode_picture

_FORMAT = 5
_MAX_FRAMES_KEPT = 400
_KEPT_PER_S = 8.0
_MAX_FPS = 32
_MIN_FPS = 1  # no LR encoder takes less
_MOST_BLANK = 0.5  # of a clip's pictures; a fade or a covered lens now and then is life
_BLACK_BELOW = 24
_FLAT_BELOW = 2.0
_FACE_WITHIN = 8  # pictures that a face is looked for in


def load_or_build(clip: Path, settings: SequenceSettings, cache: Path) -> Sequence:
    """The cached sequence of `clip`, built first if it is not there.

    Raises MediaError, naming the clip, where it cannot be decoded, is too short or slow, or shows
    nothing; CodecError where an encoder refuses it.
    """
    folder = _folder(clip, settings, cache)
    if not folder.exists():
        unfinished = cache / f".{folder.name}.{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            _build(clip, settings, unfinished)
            _keep(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return _load(folder, clip.stem, settings)


def _keep(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.replace(folder)
    except OSError:
        if not folder.exists():  # else another training has built the same one meanwhile
            raise


def load(clip: Path, settings: SequenceSettings, cache: Path) -> Sequence | None:
    """The cached sequence of `clip`; None where it is not there. MediaError as above."""
    folder = _folder(clip, settings, cache)
    return _load(folder, clip.stem, settings) if folder.exists() else None


def _folder(clip: Path, settings: SequenceSettings, cache: Path) -> Path:
    return cache / f"{clip.stem}-{_fingerprint(clip, settings)}"


def _fingerprint(clip: Path, settings: SequenceSettings) -> str:
    try:
        digest = hashlib.sha256(clip.read_bytes())
    except OSError as error:
        raise MediaError(f"{clip}: cannot be read ({error.strerror})") from error
    digest.update(json.dumps([_FORMAT, asdict(settings)], sort_keys=True).encode())
    return digest.hexdigest()[:16]


@dataclass
class _Stream:
    """One rung's encoder and decoder, and what came out so far."""

    encoder: LrEncoder
    decoder: LrDecoder
    meter: BitsPerPixelMeter
    pictures: list[Frame] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    payload_bytes: int = 0

    def push(self, frame: Frame, keep: bool) -> None:
        coded = self.encoder.encode(shrink(frame, self.encoder.rung.sampling))
        self.payload_bytes += len(coded.data)
        level = self.meter.update(len(coded.data), self.encoder.rung.size_px)
        picture = self.decoder.decode(coded.data)
        if keep:
            self.pictures.append(picture)
            self.levels.append(level)


def _build(clip: Path, settings: SequenceSettings, folder: Path) -> None:
    info = media.probe(clip)
    if info.fps < _MIN_FPS:
        raise MediaError(f"{clip}: has {float(info.fps):.2g} pictures a second; that is no video")
    skip = math.ceil(info.fps / _MAX_FPS)
    fps = info.fps / skip
    stride = max(round(float(fps) / _KEPT_PER_S), 1)
    frames = _frames(clip, skip, settings)
    first = list(islice(frames, _FACE_WITHIN))
    face = _face(first) if settings.foveated else None
    streams = [
        _Stream(LrEncoder(rung, fps), LrDecoder(rung.codec), BitsPerPixelMeter(rung.codec))
        for rung in settings.all_rungs(face)
    ]
    kept: list[Frame] = []
    count = 0
    for frame in chain(first, frames):
        keep = count % stride == 0
        count += 1
        if keep:
            kept.append(frame)
        for stream in streams:
            stream.push(frame, keep)
        if len(kept) >= _MAX_FRAMES_KEPT:
            break
    if len(kept) < 2:
        raise MediaError(f"{clip}: has {count} pictures; training needs a second of video")
    if np.mean([_is_blank(frame) for frame in kept]) > _MOST_BLANK:
        raise MediaError(f"{clip}: shows nothing; most of its pictures are black or of one colour")

    np.save(folder / "frames.npy", np.stack(kept))
    np.save(folder / "references.npy", _references(kept, settings))
    np.save(folder / "activity.npy", _activity(kept))
    rates = []
    for index, stream in enumerate(streams):
        np.save(folder / f"lr{index}.npy", np.stack(stream.pictures))
        np.save(folder / f"levels{index}.npy", np.array(stream.levels, np.float32))
        rates.append(stream.payload_bytes * 8 / 1000 * float(fps) / count)
    place = None if face is None else (face.x, face.y, face.radius)
    meta = {"kbps": rates, "sharpness": _sharpness(kept), "face": place}
    (folder / "meta.json").write_text(json.dumps(meta))


def _frames(clip: Path, skip: int, settings: SequenceSettings) -> Iterator[Frame]:
    for index, timed in enumerate(media.read_frames(clip)):
        if index % skip == 0:
            yield settings.view.apply(timed.frame, settings.output_px)


def _face(frames: list[Frame]) -> Fovea | None:
    """The fovea around the first face that is seen."""
    detector = faces.shipped()
    boxes = (detector.find(frame) for frame in frames)
    return next((box.fovea(frames[0].shape[0]) for box in boxes if box is not None), None)


def _is_blank(frame: Frame) -> bool:
    """Whether `frame` is black or of one colour, but for a codec's noise."""
    small = resize(frame, ACTIVITY_PX)
    return bool(small.max() < _BLACK_BELOW or small.std(axis=(0, 1)).max() < _FLAT_BELOW)


def _references(frames: list[Frame], settings: SequenceSettings) -> NDArray[np.uint8]:
    places = np.linspace(0, len(frames) - 1, settings.references).round().astype(int)
    budgets = settings.reference_bytes
    return np.stack(
        [
            decode_picture(encode_picture(frames[at], budgets[index % len(budgets)]))
            for index, at in enumerate(places)
        ]
    )


def _activity(frames: list[Frame]) -> NDArray[np.float32]:
    """Where pixels change over the clip: mouth, eyes, hands, rather than the wall behind."""
    small = np.stack([resize(frame, ACTIVITY_PX) for frame in frames]).astype(np.float32)
    deviation = small.std(0).mean(2)
    spread = np.asarray(cv2.GaussianBlur(deviation, (0, 0), 1.5), np.float32)
    return np.asarray(spread / max(float(spread.sum()), 1e-6), np.float32)


def _sharpness(frames: list[Frame]) -> float:
    """Mean absolute Laplacian at full scale: low for footage that was upscaled or starved."""
    middle = cv2.cvtColor(frames[len(frames) // 2], cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(middle, cv2.CV_32F)).mean())


def _load(folder: Path, name: str, settings: SequenceSettings) -> Sequence:
    def array(stem: str) -> NDArray[np.generic]:
        return np.asanyarray(np.load(folder / f"{stem}.npy", mmap_mode="r", allow_pickle=False))

    meta = json.loads((folder / "meta.json").read_text())
    face = None if meta["face"] is None else Fovea(*meta["face"])
    rungs = settings.all_rungs(face)
    lr = {
        rung: (
            array(f"lr{index}").view(np.uint8),
            np.asarray(array(f"levels{index}"), np.float32),
        )
        for index, rung in enumerate(rungs)
    }
    return Sequence(
        name=name,
        frames=array("frames").view(np.uint8),
        lr=lr,
        references=array("references").view(np.uint8),
        activity=np.asarray(array("activity"), np.float32),
        face=face,
        sharpness=float(meta["sharpness"]),
        kbps=dict(zip(rungs, meta["kbps"], strict=True)),
    )
