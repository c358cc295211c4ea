"""Codecs by the names that a command line gives them.

vp8 vp9 av1 x265           at the full size
gemino[-LR[-PX]][:MODEL]   Gemino; LR codec and size are the ladder's unless named; LR "fovea" is
                           AV1 that looks closer at the face
bicubic[-LR[-PX]]          an LR stream, upsampled
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast, get_args

from gemino.config import MIN_LR_PX, LrCodec, Rung
from gemino.errors import GeminoError
from gemino.evaluation.anchors import ANCHOR_CODECS, Anchor, AnchorCodec
from gemino.evaluation.codecs import Codec
from gemino.evaluation.offline import Bicubic, Gemino, Stream
from gemino.runtime import Synthesizer
from gemino.zoo import find

NO_MODEL = "none"
_FOVEA, _EVERY = "fovea", "every"
_OURS = re.compile(r"(gemino|bicubic)(?:-([a-z0-9]+?))?(?:-(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Spec:
    """A codec by name. kind: gemino, bicubic or an anchor. model: Gemino's, or none."""

    name: str
    kind: str
    stream: Stream = field(default_factory=Stream)
    model: str | None = None

    def open(self, synthesizer: Synthesizer | None, reference_bytes: int | None) -> Codec:
        """The codec. synthesizer: of `model`, needed by Gemino alone."""
        if self.kind == "bicubic":
            return Bicubic(self.name, self.stream)
        if self.kind == "gemino":
            assert synthesizer is not None
            own = {} if self.model in (None, NO_MODEL) else find(str(self.model)).ladders
            stream = replace(self.stream, ladders=own)
            return Gemino(self.name, synthesizer, stream, reference_bytes)
        return Anchor(cast(AnchorCodec, self.kind))

    def sha256(self) -> str | None:
        """Of the model's weights; raises ModelError where the model is missing or damaged."""
        if self.model is None or self.model == NO_MODEL:
            return None
        files = find(self.model)
        return files.sha256 if files.adapter is None else f"{files.sha256}+{files.adapter.sha256}"


def parse(names: str, models: str) -> list[Spec]:
    """The codecs of a comma-separated list; Gemino with each of `models` unless it names its own.

    Raises GeminoError for a name that means nothing, and for one that comes twice.
    """
    defaults = split(models) or [NO_MODEL]
    specs = [spec for name in split(names) for spec in _parse(name, defaults)]
    found = [spec.name for spec in specs]
    if not specs:
        raise GeminoError(f"--codecs: name some of gemino, bicubic, {', '.join(ANCHOR_CODECS)}")
    if len(set(found)) < len(found):
        raise GeminoError(f"--codecs: {_repeated(found)} comes twice")
    return specs


def split(names: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [name.strip() for name in names.split(",") if name.strip()]


def _parse(name: str, models: Sequence[str]) -> Iterable[Spec]:
    if name in ANCHOR_CODECS:
        return [Spec(name, name)]
    front, _, own = name.partition(":")
    match = _OURS.fullmatch(front)
    if match is None or (own and match[1] != "gemino"):
        known = ", ".join(("gemino", "bicubic", *ANCHOR_CODECS))
        raise GeminoError(f"--codecs: {name} is not of {known} (docs/evaluation.md)")
    foveate = match[1] == "gemino" and match[2] == _FOVEA
    every = match[1] == "gemino" and match[2] == _EVERY
    codec = "av1" if foveate or every else match[2]
    stream = replace(_stream(name, codec, match[3]), foveate=foveate, every=every)
    if match[1] == "bicubic":
        return [Spec(name, "bicubic", stream)]
    if own or len(models) == 1:
        return [Spec(name, "gemino", stream, own or models[0])]
    return [Spec(f"{name}:{model}", "gemino", stream, model) for model in models]


def _stream(name: str, codec: str | None, size: str | None) -> Stream:
    if codec is None and size is None:
        return Stream()
    try:
        if codec is None:
            raise ValueError("name the LR codec before its size")
        rung = Rung(cast(LrCodec, codec), int(size) if size else MIN_LR_PX)
    except ValueError as error:
        known = ", ".join(get_args(LrCodec))
        raise GeminoError(f"--codecs: {name}: {error} (LR codecs: {known})") from error
    return Stream(rung.codec, rung.size_px if size else None)


def _repeated(names: Sequence[str]) -> str:
    return next(name for at, name in enumerate(names) if name in names[:at])
