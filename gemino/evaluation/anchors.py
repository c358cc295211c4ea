"""The anchors: what a codec without a trained network makes of the same bits.

VP8, VP9, AV1 and H.265 code the clip at its full output size, with the settings of a live call:
constant bitrate, no look-ahead, no key frame but the first, one thread. Three choices are in their
favour:

- The clip is played forth and back, and quality and bitrate are those of the last pass. The first
  key frame is paid off by then, and its bytes are not even counted.
- The bitrate asked for is corrected until the bitrate that comes out is the one wanted. A codec
  whose coarsest quantiser still needs more is at its *floor*; it is measured there, and the rate
  it took is reported beside.
- Where a real-time call would drop frames to hold its rate, they are allowed to exceed it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import av
from av.codec.codec import UnknownCodecError
from av.video.codeccontext import VideoCodecContext

from gemino.errors import CodecError
from gemino.evaluation.clips import Footage
from gemino.evaluation.codecs import Coded, kept
from gemino.evaluation.rates import meet
from gemino.frames import Frame, from_video_frame
from gemino.svtav1 import quiet_svt_av1
from gemino.video.guard import within

AnchorCodec = Literal["vp8", "vp9", "av1", "x265"]
ANCHOR_CODECS: tuple[AnchorCodec, ...] = get_args(AnchorCodec)

_ASKED_KBPS = (2.0, 100_000.0)
_STALLED_S = 60.0
"""An encoder may stall for ever (`video.av1`); no honest picture takes so long."""

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
    # tune zerolatency: no B frames, no look-ahead, one frame at a time. keyint -1: one key frame.
    # The rate is met over one second. pools 1: one thread.
    "x265": _Settings(
        "libx265",
        "hevc",
        {
            "preset": "fast",
            "tune": "zerolatency",
            "x265-params": "bitrate={kbps}:vbv-maxrate={kbps}:vbv-bufsize={kbps}:keyint=-1:"
            "scenecut=0:pools=1:frame-threads=1:log-level=none",
        },
        {},
    ),
}


@dataclass(frozen=True, slots=True)
class Anchor:
    """One of the codecs above, at the full size of the footage.

    attempts: how often the clip is coded to meet a rate.
    """

    name: AnchorCodec
    attempts: int = 2

    def run(self, footage: Footage, kbps: float) -> Coded:
        """Code the play at a payload of `kbps`, or at the lowest rate that the codec can reach.

        Raises CodecError where the codec is missing or fails.
        """

        def code(asked_kbps: float) -> Coded:
            return _code(self.name, footage, kbps, asked_kbps)

        return meet(kbps, code, *_ASKED_KBPS, self.attempts)


def _code(codec: AnchorCodec, footage: Footage, wanted_kbps: float, asked_kbps: float) -> Coded:
    encoder, decoder = _open(codec, footage, asked_kbps)
    wanted = kept(footage)
    frames: dict[int, Frame] = {}
    sizes: list[int] = []
    shown = 0
    try:
        for position in range(len(footage.order) + 1):
            ended = position == len(footage.order)
            picture = None if ended else footage.picture(position)
            coded = within(_STALLED_S, partial(encoder.encode, picture))
            sizes += [packet.size for packet in coded]
            decoded = [image for packet in coded for image in decoder.decode(packet)]
            if ended:
                decoded += decoder.decode(None)
            for image in decoded:
                if shown in wanted:
                    frames[shown] = from_video_frame(image)
                shown += 1
    except (av.FFmpegError, TimeoutError) as error:
        raise CodecError(f"{codec} fails at {footage.size_px} px: {error}") from error
    if not shown == len(sizes) == len(footage.order):
        raise CodecError(
            f"{codec} made {shown} pictures in {len(sizes)} parts of {len(footage.order)}"
        )
    return Coded(footage, wanted_kbps, sizes, frames, details={"encoder_kbps": asked_kbps})


def _open(
    codec: AnchorCodec, footage: Footage, kbps: float
) -> tuple[VideoCodecContext, VideoCodecContext]:
    settings = _SETTINGS[codec]
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
        encoder.options = {
            k: v.format(bits=bits, kbps=max(round(kbps), 1)) for k, v in settings.options.items()
        }
        decoder.options = dict(settings.decoder_options)
        with quiet_svt_av1():
            encoder.open()
    except UnknownCodecError as error:
        raise CodecError(
            f"{codec}: this FFmpeg has no {settings.encoder}; leave {codec} out"
        ) from error
    except (av.FFmpegError, ValueError) as error:
        raise CodecError(f"cannot open {settings.encoder} at {kbps:g} kbps: {error}") from error
    return encoder, decoder
