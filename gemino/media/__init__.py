"""Clips in, movies out: everything that touches a media file goes through here."""

from gemino.media.reading import (
    ClipInfo,
    DamagedMediaError,
    TimedFrame,
    length_s,
    probe,
    read_audio,
    read_frames,
)
from gemino.media.writing import MovieWriter

__all__ = [
    "ClipInfo",
    "DamagedMediaError",
    "MovieWriter",
    "TimedFrame",
    "length_s",
    "probe",
    "read_audio",
    "read_frames",
]
