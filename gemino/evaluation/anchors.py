"""The anchors: what a codec without a trained network makes of the same bits.

VP8, VP9 and AV1 code the clip at its full output size, with the settings of a live call: constant
bitrate, no look-ahead, no key frame but the first, one thread. Three choices are in their favour:

- A short clip is played forth, back and forth again, and quality and bitrate are those of the
  last pass. The first key frame is paid off by then, and its bytes are not even counted.
- The bitrate asked for is corrected until the bitrate that comes out is the one wanted. A codec
  whose coarsest quantiser still needs more is at its *floor*; it is measured there, and the rate
  it took is reported beside.
- Where a real-time call would drop frames to hold its rate, they are allowed to exceed it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import av
from av.video.codeccontext import VideoCodecContext

from gemino.errors import CodecError
from gemino.evaluation.clips import Footage
from gemino.evaluation.rates import Rates, count, meet
from gemino.frames import Frame, from_video_frame
from gemino.svtav1 import silence_svt_av1

AnchorCodec = Literal["vp8", "vp9", "av1"]
ANCHOR_CODECS: tuple[AnchorCodec, ...] = ("vp8", "vp9", "av1")

SETTLED_S = 20.0
"""Clips shorter than this are played forth, back and forth."""
_PASSES_OF_SHORT_CLIPS = 3

_ASKED_KBPS = (2.0, 100_000.0)
_FLOOR = 1.1
"""A codec that spends a tenth more than asked for, after corrections, is at its floor."""

# libvpx in constant bitrate mode needs minimum, maximum and target alike.
_VPX = {
    "lag-in-frames": "0",  # no look-ahead: it would be delay
    "auto-alt-ref": "0",  # no hidden future frames, for the same reason
    "undershoot-pct": "100",  # spend as little as the picture needs
    "overshoot-pct": "15",  # what browsers set
    "qmin": "2",
    "qmax": "63",  # the coarsest there is: the lowest floor
    "minrate": "{bits}",
    "maxrate": "{bits}",
    "bufsize": "{bits}",  # the rate is met over one second
}


@dataclass(frozen=True, slots=True)
class _Settings:
    """FFmpeg's names for an encoder and a decoder, and the encoder's options."""

    encoder: str
    decoder: str
    options: Mapping[str, str]
    decoder_options: Mapping[str, str]


_SETTINGS: Mapping[AnchorCodec, _Settings] = {
    # cpu-used -6 is what desktop browsers run: real time with the search it leaves time for.
    "vp8": _Settings(
        "libvpx",
        "vp8",
        _VPX | {"deadline": "realtime", "cpu-used": "-6"},
        {},
    ),
    # aq-mode 3 refreshes parts of the picture in turn, libvpx's tool for live calls.
    "vp9": _Settings(
        "libvpx-vp9",
        "vp9",
        _VPX | {"deadline": "realtime", "cpu-used": "5", "aq-mode": "3"},
        {},
    ),
    # pred-struct 1: no picture waits for a later one. rc 2: constant bitrate, the only rate
    # control that it has in low delay. rtc 1: tuned for calls, as good and faster. lp 1: one
    # thread. scm 0: a camera, not a screen.
    "av1": _Settings(
        "libsvtav1",
        "libdav1d",
        {"preset": "8", "svtav1-params": "pred-struct=1:rc=2:rtc=1:lp=1:scm=0"},
        {"framethreads": "1", "tilethreads": "1"},
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class AnchorResult:
    """What a codec made of a clip.

    frames: decoded, by the places of `Footage.originals`. rates: of the measured pass.
    floor: it could not come down to the bitrate asked for.
    """

    codec: str
    frames: dict[int, Frame]
    rates: Rates
    floor: bool = False


def run(codec: AnchorCodec, footage: Footage, kbps: float) -> AnchorResult:
    """Code `footage` at a payload of `kbps`, or at the lowest rate that `codec` can reach.

    Raises CodecError where the codec is missing or fails.
    """
    result = meet(kbps, lambda asked: _run_once(codec, footage, asked), *_ASKED_KBPS)
    return replace(result, floor=result.rates.payload_kbps > _FLOOR * kbps)


def playing_order(count: int, seconds: float) -> list[int]:
    """Which frame is coded when: once through, or forth, back and forth for a short clip."""
    forth = list(range(count))
    if seconds >= SETTLED_S or count < 2:
        return forth
    order = forth
    for number in range(1, _PASSES_OF_SHORT_CLIPS):
        order = order + (forth[-2::-1] if number % 2 else forth[1:])
    return order


def _run_once(codec: AnchorCodec, footage: Footage, kbps: float) -> AnchorResult:
    order = playing_order(len(footage.pictures), footage.seconds)
    last_pass = len(order) - len(footage.pictures)
    encoder, decoder = _open(codec, footage, kbps)
    frames: dict[int, Frame] = {}
    sizes: list[int] = []
    shown = 0
    try:
        for pts, place in enumerate([*order, None]):
            picture = None if place is None else footage.pictures[place]
            if picture is not None:
                picture.pts, picture.time_base = pts, 1 / footage.fps
            coded = encoder.encode(picture)
            sizes += [packet.size for packet in coded]
            decoded = [image for packet in coded for image in decoder.decode(packet)]
            if picture is None:
                decoded += decoder.decode(None)
            for image in decoded:
                if shown - last_pass in footage.originals:
                    frames[shown - last_pass] = from_video_frame(image)
                shown += 1
    except av.FFmpegError as error:
        raise CodecError(f"{codec} fails at {footage.size_px} px: {error}") from error
    if not shown == len(sizes) == len(order):
        raise CodecError(f"{codec} made {shown} pictures in {len(sizes)} parts of {len(order)}")
    return AnchorResult(codec, frames, count(sizes[last_pass:], footage.fps))


def _open(
    codec: AnchorCodec, footage: Footage, kbps: float
) -> tuple[VideoCodecContext, VideoCodecContext]:
    settings = _SETTINGS[codec]
    if codec == "av1":
        silence_svt_av1()
    bits = round(kbps * 1000)
    try:
        encoder = av.CodecContext.create(settings.encoder, "w")
        decoder = av.CodecContext.create(settings.decoder, "r")
        assert isinstance(encoder, VideoCodecContext)
        assert isinstance(decoder, VideoCodecContext)
        encoder.width = encoder.height = footage.size_px
        encoder.pix_fmt = "yuv420p"
        # Rate control counts in these units: one picture, one tick.
        encoder.time_base, encoder.framerate = 1 / footage.fps, footage.fps
        encoder.bit_rate = bits
        encoder.gop_size = 1_000_000
        encoder.thread_count = decoder.thread_count = 1
        encoder.options = {k: v.format(bits=bits) for k, v in settings.options.items()}
        decoder.options = dict(settings.decoder_options)
        encoder.open()
    except (av.FFmpegError, ValueError) as error:
        raise CodecError(f"cannot open {settings.encoder} at {kbps:g} kbps: {error}") from error
    return encoder, decoder
