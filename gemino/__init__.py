"""Gemino: a neural video-conferencing codec on WebRTC.

    encoder = gemino.Encoder(gemino.EncoderConfig(output_px=512))
    decoder = gemino.Decoder(gemino.open_synthesizer("generic-s", 512))
    for now, frame in camera:
        sent = encoder.encode(frame, now)
        if sent.reference is not None:
            decoder.add_reference(sent.reference)
        shown = decoder.decode(sent.lr, sent.index).frame

Names are loaded when they are first used, so that `import gemino` costs next to nothing and a
sender never loads torch.
"""

import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemino.config import EncoderConfig, ModelConfig, Rung, ladder
    from gemino.decoder import DecodedFrame, Decoder
    from gemino.encoder import EncodedFrame, Encoder
    from gemino.errors import (
        CallError,
        CodecError,
        GeminoError,
        MediaError,
        ModelError,
        RuntimeUnavailable,
        SignalingError,
        WireError,
    )
    from gemino.frames import Frame
    from gemino.runtime import open_synthesizer
    from gemino.runtime.base import Synthesizer

__version__ = "0.1.0"

__all__ = [
    "CallError",
    "CodecError",
    "DecodedFrame",
    "Decoder",
    "EncodedFrame",
    "Encoder",
    "EncoderConfig",
    "Frame",
    "GeminoError",
    "MediaError",
    "ModelConfig",
    "ModelError",
    "Rung",
    "RuntimeUnavailable",
    "SignalingError",
    "Synthesizer",
    "WireError",
    "ladder",
    "open_synthesizer",
]

_HOMES = {
    "gemino.config": ("EncoderConfig", "ModelConfig", "Rung", "ladder"),
    "gemino.decoder": ("DecodedFrame", "Decoder"),
    "gemino.encoder": ("EncodedFrame", "Encoder"),
    "gemino.errors": (
        "CallError",
        "CodecError",
        "GeminoError",
        "MediaError",
        "ModelError",
        "RuntimeUnavailable",
        "SignalingError",
        "WireError",
    ),
    "gemino.frames": ("Frame",),
    "gemino.runtime": ("open_synthesizer",),
    "gemino.runtime.base": ("Synthesizer",),
}

# A library stays silent until its user asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'gemino' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
