"""VP8 and VP9 as LR codecs: libvpx encodes, FFmpeg's own decoders decode.

VP8 is what every WebRTC peer can receive, and the default.
"""

from gemino.config import Rung
from gemino.video.library import Library

_COMMON_OPTIONS = {
    "lag-in-frames": "0",  # no look-ahead: a picture leaves as it enters
    "error-resilient": "0",  # see _speed_options
    "auto-alt-ref": "0",
    "undershoot-pct": "95",
    "overshoot-pct": "15",
    "qmin": "2",
    "qmax": "63",
}
_LARGE_PX = 320


def _speed_options(rung: Rung) -> dict[str, str]:
    """How much libvpx may search, by codec and size.

    For VP8's small pictures "good" without error resilience looks better and has a lower floor than
    "realtime" with it, for a little more time. Error resilience only spares the probabilities, and
    a VP8 picture lost spoils its successors either way. Large pictures have bits enough and time
    too short for that search.
    """
    if rung.size_px > _LARGE_PX:
        speed = {"vp8": "-6", "vp9": "7"}[rung.codec]
        return {"deadline": "realtime", "cpu-used": speed}
    if rung.codec == "vp8":
        return {"deadline": "good", "cpu-used": "2"}
    return {"deadline": "realtime", "cpu-used": "5", "aq-mode": "3"}


def _options(rung: Rung) -> dict[str, str]:
    # Equal minimum and maximum make libvpx's constant bitrate mode; the buffer is one second.
    bits = str(round(rung.video_kbps * 1000))
    rate = {"minrate": bits, "maxrate": bits, "bufsize": bits}
    return _COMMON_OPTIONS | _speed_options(rung) | rate


VP8 = Library("libvpx", "vp8", _options)
VP9 = Library("libvpx-vp9", "vp9", _options)


def picture_size_px(data: bytes) -> int | None:
    """Side of a VP8 key frame, from its header (RFC 6386, section 9.1); None for other pictures."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    return int.from_bytes(data[6:8], "little") & 0x3FFF
