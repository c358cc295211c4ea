"""Movies out: frames and sound into a file."""

import math
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from gemino.errors import MediaError
from gemino.frames import Frame, to_video_frame
from gemino.media.opening import reason

# SVT-AV1 spends fewer bits, but holds frames back and starts threads that a call would miss.
_VP9 = {"deadline": "realtime", "cpu-used": "8", "crf": "28", "lag-in-frames": "0"}
# delay_moov: the header waits for the first second and can so say how AAC's priming is cut.
_FRAGMENTED = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}


# FFV1 is the smaller one, Ut Video the quicker.
_LOSSLESS = {".mkv": ("ffv1", "bgr0"), ".nut": ("utvideo", "gbrp")}


class MovieWriter:
    """Writes frames, and sound where `audio_rate_hz` is given, into a movie.

    path: `.mp4` is fragmented MP4 with VP9 and AAC: it plays in browsers, and up to its last
    second even after a crash. `.mkv` is lossless: FFV1 in RGB and PCM, bit for bit what was
    written; its times are whole milliseconds. `.nut` is as lossless, quicker and larger
    (Ut Video), for recording beside a call. size_px: side of the square, or
    (width, height).
    fps: nominal; each frame brings its own time. Raises MediaError where the file cannot be
    written.
    """

    def __init__(
        self,
        path: str | Path,
        size_px: int | tuple[int, int],
        fps: Fraction,
        *,
        audio_rate_hz: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.width, self.height = (size_px, size_px) if isinstance(size_px, int) else size_px
        if self.path.suffix not in (".mp4", *_LOSSLESS):
            raise MediaError(f"{self.path}: cannot write this kind of file; name it .mp4 or .mkv")
        self._lossless = self.path.suffix in _LOSSLESS
        if not self._lossless and (self.width % 2 or self.height % 2):
            raise MediaError(f"{self.path}: an .mp4 needs even sides; write an .mkv")
        self._time_base = Fraction(1, 1000) if self._lossless else Fraction(1, 90000)
        self._frame_ticks = max(1, round(1 / fps / self._time_base))
        self._last_pts = -1
        self._samples = 0
        self._closed = False
        # Packets reach the file at once: a crash loses the last second, not the last 32 kB.
        options = {"flush_packets": "1"} | ({} if self._lossless else _FRAGMENTED)
        try:
            # FFmpeg opens the file at the first packet, which is late to hear that it cannot;
            # what is there stands until then.
            self.path.open("ab").close()
            self._container = av.open(f"file:{self.path}", "w", options=options)
            self._add_streams(fps, audio_rate_hz)
        except (av.FFmpegError, OSError) as exc:
            raise MediaError(f"{self.path}: cannot be written ({reason(exc)})") from exc

    def _add_streams(self, fps: Fraction, audio_rate_hz: int | None) -> None:
        rate = fps.limit_denominator(65535)
        if self._lossless:
            codec, pixels = _LOSSLESS[self.path.suffix]
            video = self._container.add_stream(codec, rate=rate)
            assert isinstance(video, VideoStream)
            self._video = video
            self._video.pix_fmt = pixels
        else:
            # A key frame a second: a crash loses no more than that, and players can seek.
            options = _VP9 | {"g": str(max(1, round(fps)))}
            self._video = self._container.add_stream("libvpx-vp9", rate=rate, options=options)
            self._video.pix_fmt = "yuv420p"
            self._video.bit_rate = 0  # with crf: constant quality
            self._video.codec_context.colorspace = Colorspace.ITU601
            self._video.codec_context.color_range = ColorRange.MPEG
        self._video.width, self._video.height = self.width, self.height
        self._video.codec_context.time_base = self._time_base
        self._audio: AudioStream | None = None
        if audio_rate_hz is not None:
            sound = "pcm_s16le" if self._lossless else "aac"
            audio = self._container.add_stream(sound, rate=audio_rate_hz, layout="mono")
            assert isinstance(audio, AudioStream)
            self._audio = audio

    def write(self, frame: Frame, time_s: float) -> None:
        """Append `frame` [height, width, 3] shown from `time_s`.

        A time that does not move on from the last frame's is moved on by the smallest step.
        """
        if frame.shape != (self.height, self.width, 3):
            raise ValueError(f"frame is {frame.shape}, the movie {self.height}x{self.width}")
        if not math.isfinite(time_s):
            raise ValueError("time_s must be finite")
        if self._lossless:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format=self._video.pix_fmt)
        else:
            picture = to_video_frame(frame)
        self._last_pts = max(self._last_pts + 1, round(time_s / self._time_base))
        picture.pts, picture.time_base = self._last_pts, self._time_base
        picture.duration = self._frame_ticks
        self._mux(self._video, picture)

    def write_audio(self, samples: NDArray[np.int16]) -> None:
        """Append mono int16 [N] samples, at the rate given at the start, to the sound."""
        if self._audio is None:
            raise ValueError("this movie was opened without sound")
        if not samples.size:
            return
        rate = self._audio.codec_context.sample_rate
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.int16).reshape(1, -1), format="s16", layout="mono"
        )
        block.sample_rate, block.pts, block.time_base = rate, self._samples, Fraction(1, rate)
        self._samples += samples.size
        self._mux(self._audio, block)

    def _mux(
        self,
        stream: VideoStream | AudioStream,
        data: av.VideoFrame | av.AudioFrame | None,
    ) -> None:
        try:
            packets = (
                stream.encode(data)  # type: ignore[arg-type]  # each stream meets its own frames
            )
            for packet in packets:
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as exc:
            raise MediaError(f"{self.path}: cannot be written ({reason(exc)})") from exc

    def close(self) -> None:
        """Finish the file, and leave none that is empty; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            for stream in (self._video, self._audio):
                if stream is not None and (stream is not self._video or self._last_pts >= 0):
                    self._mux(stream, None)
        finally:
            try:
                self._container.close()
            except (av.FFmpegError, OSError) as exc:
                raise MediaError(f"{self.path}: cannot be written ({reason(exc)})") from exc
            if self.path.is_file() and not self.path.stat().st_size:
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
