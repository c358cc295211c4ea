"""Movies one after the other, without coding them again."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av import Packet
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from gemino.errors import MediaError
from gemino.media.opening import reason

_DEFAULT_FPS = 30


def join(movies: Sequence[Path], output: Path) -> None:
    """Write `movies`, all by `MovieWriter` at one size, one after the other into `output` (.mp4).

    Where a movie is silent, so is its part. Raises MediaError where one cannot be read, or
    `output` not be written.
    """
    try:
        with av.open(f"file:{output}", "w", options={"movflags": "faststart"}) as joined:
            streams = _streams(movies, joined)
            start_s = Fraction(0)
            for movie in movies:
                with av.open(f"file:{movie}") as part:
                    start_s = _append(part, joined, streams, start_s)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{output}: movies cannot be joined ({reason(error)})") from error


def _streams(movies: Sequence[Path], joined: OutputContainer) -> dict[str, Stream]:
    """A stream of each kind in `joined`, like the first movie's that has that kind."""
    found: dict[str, Stream] = {}
    for movie in movies:
        with av.open(f"file:{movie}") as part:
            for stream in (*part.streams.video[:1], *part.streams.audio[:1]):
                if stream.type not in found:
                    found[stream.type] = joined.add_stream_from_template(stream)
    return found


def _append(
    part: InputContainer, joined: OutputContainer, streams: dict[str, Stream], start_s: Fraction
) -> Fraction:
    """Copy a movie's packets to `start_s`; returns where the next one starts."""
    end_s = start_s
    sources = [*part.streams.video[:1], *part.streams.audio[:1]]
    for packet in part.demux(sources):
        if packet.dts is None or packet.pts is None:
            continue  # the mark at the end of a stream
        if start_s and packet.pts < 0:
            continue  # AAC's priming, which would reach into the sound before it
        base = packet.time_base
        shift = round(start_s / base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        duration_s = _duration_s(packet)
        # Said explicitly: players leave out a last picture that lasts no time.
        packet.duration = round(duration_s / base)
        end_s = max(end_s, packet.pts * base + duration_s)
        packet.stream = streams[packet.stream.type]
        joined.mux(packet)
    return end_s


def _duration_s(packet: "Packet[Stream]") -> Fraction:
    """How long `packet` is shown or heard; fragmented MP4 does not say it of pictures."""
    if packet.duration:
        return Fraction(packet.duration * packet.time_base)
    rate = packet.stream.average_rate if isinstance(packet.stream, VideoStream) else None
    return 1 / Fraction(rate or _DEFAULT_FPS)
