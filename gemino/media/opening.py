"""Opening a media file that may be hostile or broken.

What opens it is narrow: a regular file, a known container, no other file or address that the
container may point at, and pictures of at most 8192 px a side. What the container says of itself is
bounded too.
"""

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from gemino.errors import MediaError

MAX_SIDE_PX = 8192
MAX_DURATION_S = 24 * 3600.0
_DEFAULT_FPS = Fraction(30)
_MAX_FPS = 240
# FFmpeg would also open text files (as ANSI art), playlists and scripts that name other files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,ivf,nut,asf,"
    "yuv4mpegpipe,h264,hevc,gif,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,wav,flac,mp3,aac"
)


def regular_file(path: str | Path) -> Path:
    """The path of a file that is one, and is not empty; raises MediaError."""
    clip = Path(path)
    if clip.is_dir():
        raise MediaError(f"{clip}: is a directory; name a video file")
    if not clip.exists():
        raise MediaError(f"{clip}: no such file")
    if not clip.is_file():
        raise MediaError(f"{clip}: is not a regular file")
    try:
        if clip.stat().st_size == 0:
            raise MediaError(f"{clip}: is empty")
    except OSError as exc:
        raise MediaError(f"{clip}: cannot be read ({reason(exc)})") from exc
    return clip


def open_clip(clip: Path) -> InputContainer:
    """The container in a file; raises MediaError where it is none that we know."""
    guard = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
    try:
        return av.open(f"file:{clip}", options=guard)
    except (av.FFmpegError, OSError) as exc:
        raise MediaError(
            f"{clip}: cannot be read as video ({reason(exc)}); use an MP4, MKV or WebM file"
        ) from exc


def video_stream(container: InputContainer, clip: Path) -> VideoStream:
    """The first video in a container, set to refuse large pictures; raises MediaError."""
    if not container.streams.video:
        raise MediaError(f"{clip}: holds no video")
    stream = container.streams.video[0]
    if max(stream.codec_context.width, stream.codec_context.height) > MAX_SIDE_PX:
        raise MediaError(f"{clip}: pictures are larger than {MAX_SIDE_PX} px a side")
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE_PX * MAX_SIDE_PX)}
    return stream


def frame_rate(stream: VideoStream) -> Fraction:
    """The average rate, 30 where the stream gives none that makes sense."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and Fraction(1, 10) <= rate <= _MAX_FPS:
            return Fraction(rate)
    return _DEFAULT_FPS


def duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """The length that is announced; None where none is, or none that makes sense."""
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / av.time_base
    else:
        return None
    return seconds if 0 < seconds <= MAX_DURATION_S else None


def reason(exc: Exception) -> str:
    """What FFmpeg or the system says of an error, in a line."""
    text = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return " ".join(str(text).split())
