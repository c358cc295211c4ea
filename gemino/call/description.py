"""Session descriptions as two peers send them to each other through the signalling server."""

import re
from collections.abc import Mapping
from typing import Any

from aiortc import RTCSessionDescription

from gemino.errors import CallError

_EXTENSIONS = re.compile(r"a=extmap:[^\r\n]*\r?\n")
"""RTP header extensions: 12 bytes a packet for what SSRCs tell already, and for REMB."""


def to_message(description: RTCSessionDescription) -> dict[str, str]:
    """Our description, without RTP header extensions."""
    return {"type": description.type, "sdp": _EXTENSIONS.sub("", description.sdp)}


def from_message(data: Mapping[str, Any]) -> RTCSessionDescription:
    """The other peer's description; raises CallError where it is none."""
    sdp, kind = data.get("sdp"), data.get("type")
    if not isinstance(sdp, str) or kind not in ("offer", "answer"):
        raise CallError("the other peer sends no WebRTC description: is it a Gemino peer?")
    return RTCSessionDescription(sdp=sdp, type=kind)
