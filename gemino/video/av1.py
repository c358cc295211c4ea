"""AV1 as LR codec, between peers that both have it: SVT-AV1 encodes, dav1d decodes.

At 128 px and 10 kbps it shows a talking head 2.4 dB better than VP8 (docs/lr-codecs.md).
"""

from gemino.config import MAX_SCREEN_PX, Rung
from gemino.svtav1 import quiet_svt_av1
from gemino.video.library import Library

_PRESET = "6"  # finer ones take much longer for little


def _options(_: Rung) -> dict[str, str]:
    # pred-struct 1: no picture waits for a later one. rc 2: constant bitrate, the only rate
    # control it has in low delay. rtc 1: tuned for calls. lp 1: one thread; a picture leaves as it
    # enters. scm 0: a camera, not a screen.
    return {"preset": _PRESET, "svtav1-params": "pred-struct=1:rc=2:rtc=1:lp=1:scm=0"}


AV1 = Library(
    "libsvtav1",
    "libdav1d",
    _options,
    # dav1d refuses larger pictures before it allocates them.
    {
        "max_frame_delay": "1",
        "framethreads": "1",
        "max_pixels": str(MAX_SCREEN_PX * MAX_SCREEN_PX),
    },
    opening=quiet_svt_av1,
    # Its rate control starves a forced key frame: it gets a fraction of the bytes of a stream's
    # first picture, and the pictures after it spend what it saved. A fresh encoder is soon open,
    # and shows the second that follows better for the same bytes.
    fresh_keyframes=True,
    # SVT-AV1 4.1 in low delay: once in some 300,000 pictures all its threads waited for each other.
    may_stall=True,
)
