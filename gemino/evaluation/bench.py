"""One process's work in an evaluation: code a clip once, at one rate, and measure it."""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from gemino.errors import MediaError
from gemino.evaluation.clips import MAX_SECONDS, PLAY_S, Footage, load
from gemino.evaluation.codecs import Coded
from gemino.evaluation.landmarks import FaceLandmarker
from gemino.evaluation.measuring import Judge
from gemino.evaluation.metrics import use_one_thread
from gemino.evaluation.pictures import face_box, save, stacked
from gemino.evaluation.regions import Faces, faces
from gemino.evaluation.specs import NO_MODEL, Spec
from gemino.frames import Frame
from gemino.runtime import Precision, Runtime, Synthesizer, open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.zoo import find

_PANEL_MOMENTS = 3
_DIGITS = 5

Record = dict[str, Any]
"""A point's figures and what they are of, as values for json.dumps."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure. every, seconds, play_s: see `clips.load`. reference_bytes: of Gemino.

    vgg, landmarks: weights, where wanted. panels: folder for pictures of the points that are asked
    for `panel_kbps`, or at their floor. runtime, precision: what runs Gemino's network; "auto" is
    onnxruntime for an export, else torch, in the faster format.
    """

    every: int = 10
    seconds: float = MAX_SECONDS
    play_s: float = PLAY_S
    reference_bytes: int | None = None
    vgg: Path | None = None
    landmarks: Path | None = None
    panels: Path | None = None
    panel_kbps: float = 0.0
    runtime: Runtime = "auto"
    precision: Precision = "auto"

    def check(self) -> None:
        """Raises ModelError for weights that are missing or damaged."""
        if self.landmarks is not None:
            FaceLandmarker(self.landmarks)
        if self.vgg is not None:
            load_lpips(self.vgg)

    def identity(self) -> dict[str, Any]:
        """What points must have in common to stand beside one another, for json.dumps."""
        return {
            "every": self.every,
            "seconds": self.seconds,
            "play_s": self.play_s,
            "reference_bytes": self.reference_bytes,
            "vgg": self.vgg is not None,
            "landmarks": self.landmarks is not None,
            **({} if self.runtime == "auto" else {"runtime": self.runtime}),
            **({} if self.precision == "auto" else {"precision": self.precision}),
        }


@dataclass(frozen=True, slots=True)
class Task:
    """A point to measure: a clip under a name, a size, a codec, a total payload."""

    clip: Path
    name: str
    size_px: int
    spec: Spec
    kbps: float

    @property
    def place(self) -> tuple[str, int, str, float]:
        """Where its figures belong; see `place`."""
        return self.name, self.size_px, self.spec.name, self.kbps


class Bench:
    """Measures points; keeps the last clip and model, since the next point has the same often.

    Raises ModelError for weights that are missing or damaged.
    """

    def __init__(self, settings: Settings) -> None:
        use_one_thread()
        cv2.setNumThreads(1)
        self._settings = settings
        landmarks, vgg = settings.landmarks, settings.vgg
        self._landmarker = None if landmarks is None else FaceLandmarker(landmarks)
        self._judge = Judge(
            load_lpips(), None if vgg is None else load_lpips(vgg), self._landmarker
        )
        self._loaded: tuple[tuple[Path, int], Footage, Faces] | None = None
        self._opened: tuple[tuple[str, int], Synthesizer] | None = None

    def measure(self, task: Task) -> Record:
        """Code and measure; raises MediaError, CodecError or ModelError."""
        started = time.process_time()
        footage, found = self._footage(task)
        synthesizer = self._synthesizer(task)
        codec = task.spec.open(synthesizer, self._settings.reference_bytes)
        coded = codec.run(footage, task.kbps)
        figures = self._judge.figures(coded, found)
        if self._settings.panels is not None:
            self._draw(task, coded, found)
        rounded = {
            name: None if value is None else round(value, _DIGITS)
            for name, value in figures.items()
        }
        return {
            **identity(task),
            **rounded,
            "floor": coded.floor,
            **({} if synthesizer is None else {"runtime": synthesizer.way}),
            **coded.details,
            "fps": round(float(footage.fps), 3),
            "frames": len(footage.pictures),
            "frames_measured": len(footage.originals),
            "frames_with_regions": len(found.regions),
            "regions_missing": found.missing,
            "cpu_s": round(time.process_time() - started, 2),
        }

    def _footage(self, task: Task) -> tuple[Footage, Faces]:
        key = (task.clip, task.size_px)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before the next one is in memory
            s = self._settings
            footage = load(
                task.clip,
                task.size_px,
                s.every,
                name=task.name,
                max_seconds=s.seconds,
                play_s=s.play_s,
            )
            self._loaded = (key, footage, faces(footage, task.clip, self._landmarker))
        return self._loaded[1], self._loaded[2]

    def _synthesizer(self, task: Task) -> Synthesizer | None:
        model = task.spec.model
        if model is None:
            return None
        key = (model, task.size_px)
        if self._opened is None or self._opened[0] != key:
            named = None if model == NO_MODEL else model
            runtime = self._settings.runtime
            if runtime == "auto" and named is not None and find(named).graphs is None:
                runtime = "torch"  # figures must not depend on what else somebody has exported
            opened = open_synthesizer(
                named, task.size_px, runtime=runtime, precision=self._settings.precision
            )
            self._opened = (key, opened)
        return self._opened[1]

    def _draw(self, task: Task, coded: Coded, found: Faces) -> None:
        folder, footage = self._settings.panels, coded.footage
        assert folder is not None
        if task.kbps != self._settings.panel_kbps and not coded.floor:
            return
        shown = coded.shown()
        save(panel_path(folder, identity(task)), _panel(footage, shown, found))
        original = original_path(folder, task.name, task.size_px)
        if not original.exists():
            save(original, _panel(footage, footage.originals, found))


def identity(task: Task) -> Record:
    """What a point is of: two with equal identities have equal figures.

    Raises MediaError for a clip that cannot be read, ModelError for a model likewise.
    """
    return {
        "clip": task.name,
        "source": _digest(task.clip),
        "size": task.size_px,
        "codec": task.spec.name,
        "model": task.spec.model,
        "model_sha256": task.spec.sha256(),
        "asked_kbps": task.kbps,
    }


def place(record: Record) -> tuple[str, int, str, float]:
    """Clip, size, codec and rate asked: one file holds one point of each."""
    return record["clip"], record["size"], record["codec"], record["asked_kbps"]


def panel_path(folder: Path, record: Mapping[str, Any]) -> Path:
    """Where the pictures of a point lie."""
    parts = (record["clip"], record["size"], record["codec"], f"{record['asked_kbps']:g}")
    return folder / (re.sub(r"[^\w.-]", "_", "-".join(map(str, parts))) + ".png")


def original_path(folder: Path, clip: str, size_px: int) -> Path:
    """Where the pictures of a clip itself lie."""
    return folder / (re.sub(r"[^\w.-]", "_", f"{clip}-{size_px}-original") + ".png")


def _panel(footage: Footage, frames: Mapping[int, Frame], found: Faces) -> Frame:
    """The middle frame, and the face at a few moments, one below the other."""
    places = sorted(footage.originals)
    steps = 2 * _PANEL_MOMENTS
    moments = [places[len(places) * at // steps] for at in range(1, steps, 2)]
    pictures = [frames[moments[_PANEL_MOMENTS // 2]]]
    for place in moments:
        regions = found.regions.get(place)
        box = face_box(footage.originals[place]) if regions is None else regions.face
        pictures.append(box.cut(frames[place]))
    return stacked(pictures)


def _digest(clip: Path) -> str:
    """The first half of the file's SHA-256."""
    try:
        with clip.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise MediaError(f"{clip}: cannot be read ({error.strerror})") from error
