"""Clips in: frames and sound of a media file.

A clip may be hostile or broken: `opening` bounds what is opened. Sizes and frames are as displayed,
with the container's rotation applied (`orientation`). Times count from the first video frame, for
sound too, so that sound and picture stay together.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.media.opening import (
    MAX_DURATION_S,
    duration_s,
    frame_rate,
    open_clip,
    reason,
    regular_file,
    video_stream,
)
from gemino.media.orientation import Display


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What a clip says about itself.

    width, height: pixels as displayed. fps: average rate, 30 where the clip gives none that makes
    sense. frames, duration_s: None where the container does not say; not to be relied on.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    frames: int | None
    duration_s: float | None
    has_audio: bool


@dataclass(frozen=True, slots=True, eq=False)
class TimedFrame:
    """frame: uint8 [H, W, 3] RGB. time_s: since the first frame, strictly increasing."""

    frame: Frame
    time_s: float


class DamagedMediaError(MediaError):
    """A clip ends early or breaks off; `frames_read` good frames came before."""

    def __init__(self, message: str, frames_read: int) -> None:
        super().__init__(message)
        self.frames_read = frames_read


def probe(path: str | Path) -> ClipInfo:
    """Open a clip and decode its first frame.

    Raises MediaError where the file is missing, holds no video, or cannot be read.
    """
    clip = regular_file(path)
    with open_clip(clip) as container:
        stream = video_stream(container, clip)
        try:
            picture = next(container.decode(stream), None)
        except av.FFmpegError as exc:
            raise MediaError(f"{clip}: its video cannot be decoded ({reason(exc)})") from exc
        if picture is None:
            raise MediaError(f"{clip}: its video has no frames")
        height, width = Display().shown(picture, clip).shape[:2]
        return ClipInfo(
            path=clip,
            width=width,
            height=height,
            fps=frame_rate(stream),
            frames=stream.frames or None,
            duration_s=duration_s(container, stream),
            has_audio=bool(container.streams.audio),
        )


def read_frames(path: str | Path) -> Iterator[TimedFrame]:
    """Yield a clip's frames, rotation applied, with their own times (variable rates are kept).

    Raises MediaError as `probe` does, and its subclass DamagedMediaError, after the last good
    frame, where the clip breaks off.
    """
    clip = regular_file(path)
    with open_clip(clip) as container:
        stream = video_stream(container, clip)
        frame_s = float(1 / frame_rate(stream))
        count, start_s, last_s = 0, 0.0, -frame_s
        ends, display = _Ends(), Display()
        try:
            for picture in _pictures(container, stream, ends):
                seconds = _time_s(picture)
                if not count:
                    start_s = seconds or 0.0
                stamp = last_s + frame_s if seconds is None else seconds - start_s
                # A stamp that stands still or jumps absurdly is a broken one.
                if not last_s < stamp < last_s + MAX_DURATION_S:
                    stamp = last_s + frame_s
                yield TimedFrame(display.shown(picture, clip), stamp)
                count, last_s = count + 1, stamp
        except av.FFmpegError as exc:
            raise DamagedMediaError(
                f"{clip}: broken after {count} frames ({reason(exc)}); copy or export it again",
                count,
            ) from exc
        if not count:
            raise MediaError(f"{clip}: its video has no frames")
        if _is_truncated(container, stream, count, last_s + frame_s, ends.file_s):
            raise DamagedMediaError(
                f"{clip}: breaks off after {count} frames; copy or export it again", count
            )


def read_audio(path: str | Path, rate_hz: int = 48000) -> Iterator[NDArray[np.int16]]:
    """Yield a clip's sound as mono int16 [N] blocks; sample 0 belongs to the first video frame.

    A clip without sound yields nothing. Raises MediaError as `probe` does, also after the last
    good block where the sound breaks off.
    """
    clip = regular_file(path)
    with open_clip(clip) as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        video = container.streams.video[0] if container.streams.video else None
        start_s = 0.0
        if video is not None and video.start_time is not None and video.time_base is not None:
            start_s = float(video.start_time * video.time_base)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        lead: int | None = None  # samples of silence to add (or, negative, of sound to drop)
        try:
            for block in container.decode(stream):
                if lead is None:
                    first_s = _time_s(block)
                    offset_s = 0.0 if first_s is None else first_s - start_s
                    lead = round(max(-60.0, min(offset_s, 60.0)) * rate_hz)
                    if lead > 0:
                        yield np.zeros(lead, np.int16)
                for piece in resampler.resample(block):
                    samples = np.asarray(piece.to_ndarray(), np.int16).reshape(-1)
                    drop = min(max(-lead, 0), samples.size)
                    lead += drop
                    if samples.size > drop:
                        yield samples[drop:]
            for piece in resampler.resample(None):
                yield np.asarray(piece.to_ndarray(), np.int16).reshape(-1)
        except av.FFmpegError as exc:
            raise MediaError(f"{clip}: its sound breaks off ({reason(exc)})") from exc


def length_s(path: str | Path) -> float:
    """Seconds from the first picture of a clip to the end of its last one.

    As its packets say, not its header, which may promise anything; nothing is decoded. Raises
    MediaError as `probe` does, and where the clip cannot be read to its end.
    """
    clip = regular_file(path)
    with open_clip(clip) as container:
        stream = video_stream(container, clip)
        frame_s = float(1 / frame_rate(stream))
        start_s, end_s, packets = math.inf, -math.inf, 0
        try:
            for packet in container.demux(stream):
                packets += packet.size > 0
                if packet.pts is None or packet.is_discard:
                    continue
                shown_s = float(packet.pts * packet.time_base)
                lasts_s = float((packet.duration or 0) * packet.time_base) or frame_s
                start_s, end_s = min(start_s, shown_s), max(end_s, shown_s + lasts_s)
        except av.FFmpegError as exc:
            raise MediaError(f"{clip}: cannot be read to its end ({reason(exc)})") from exc
    seconds = end_s - start_s if end_s > start_s else packets * frame_s
    return min(max(seconds, frame_s), MAX_DURATION_S)


@dataclass(slots=True)
class _Ends:
    """file_s: where the last packet of any stream ends."""

    file_s: float = 0.0


def _pictures(
    container: InputContainer, stream: VideoStream, ends: _Ends
) -> Iterator[av.VideoFrame]:
    for packet in container.demux():
        if packet.pts is not None:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            ends.file_s = max(ends.file_s, end_s)
        if packet.stream_index != stream.index:
            continue
        try:
            pictures = stream.decode(packet)
        except av.EOFError:  # an empty packet, the sign to flush, came twice
            return
        yield from pictures


def _is_truncated(
    container: InputContainer, stream: VideoStream, count: int, end_s: float, file_end_s: float
) -> bool:
    """Whether the end came before the one that the container announces.

    An MP4 counts its frames; an edit list may hide some, so time must be missing too, more than
    a frame and a half. Matroska states the duration of its longest stream. A recording that a
    crash cut off (fragmented MP4, unfinished Matroska) announces nothing and is taken as whole.
    """
    expected_s = duration_s(container, stream)
    if expected_s is None:
        return False
    if stream.frames:
        return count < stream.frames and end_s + 1.5 * float(1 / frame_rate(stream)) < expected_s
    return "matroska" in container.format.name and file_end_s + 1.0 < expected_s


def _time_s(frame: av.VideoFrame | av.AudioFrame) -> float | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)
