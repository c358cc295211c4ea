"""Session descriptions and candidates as two peers send them to each other.

Both are read without trust: bounded, and parsed once here, so that what is handed to aiortc is a
description. Candidates are taken out of it and added one by one (`candidates`), because aiortc
would take those of the last bundled section alone.

A peer says in its description that it is Gemino (`a=x-gemino:1`, which others skip): everybody else
is a plain WebRTC peer (`plain`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiortc import RTCIceCandidate, RTCSessionDescription
from aiortc.sdp import SessionDescription, candidate_from_sdp

from gemino.errors import CallError, WireError

MAX_CANDIDATES = 64
_MAX_CANDIDATE_CHARS = 512
_MAX_SDP_CHARS = 60_000
_MAX_SECTIONS = 16
_MARK = "a=x-gemino:1"
_MARKED = re.compile(r"^a=x-gemino:1\r?$", re.MULTILINE)
_EXTENSIONS = re.compile(r"^a=extmap:[^\r\n]*\r?\n", re.MULTILINE)
"""RTP header extensions: 12 bytes a packet for what SSRCs tell already, and for REMB."""
_ICE = re.compile(r"^a=(?:candidate:[^\r\n]*|end-of-candidates)\r?\n?", re.MULTILINE)
_END = re.compile(r"^a=end-of-candidates\r?\n", re.MULTILINE)
_FIRST_SECTION = re.compile(r"^m=", re.MULTILINE)
_CANDIDATE = re.compile(
    r"(?:candidate:)?(?P<line>[A-Za-z0-9+/]{1,32} 1 (?:udp|UDP|tcp|TCP) [0-9]{1,10}"
    r" [A-Za-z0-9.:-]{1,255} [0-9]{1,5} typ (?:host|srflx|prflx|relay)(?: [!-~]+ [!-~]*)*)",
    re.ASCII,
)
_MID = re.compile(r"[!-~]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Description:
    """The other peer's description.

    session: without candidates. candidates: those that it names. complete: there are no others.
    gemino: it is a Gemino peer.
    """

    session: RTCSessionDescription
    candidates: tuple[RTCIceCandidate, ...]
    complete: bool
    gemino: bool


def to_message(description: RTCSessionDescription, *, more_to_come: bool = False) -> dict[str, str]:
    """Our description, without RTP header extensions. more_to_come: candidates will follow it."""
    sdp = _EXTENSIONS.sub("", description.sdp)
    lines = [_MARK]
    if more_to_come:
        sdp = _END.sub("", sdp)
        lines.append("a=ice-options:trickle")
    sdp = _FIRST_SECTION.sub("\r\n".join([*lines, "m="]), sdp, count=1)
    return {"type": description.type, "sdp": sdp}


def from_message(data: Mapping[str, Any]) -> Description:
    """The other peer's description; raises CallError where it is none."""
    sdp, kind = data.get("sdp"), data.get("type")
    if not isinstance(sdp, str) or kind not in ("offer", "answer"):
        raise CallError("the other peer sends no WebRTC description: is it a Gemino peer?")
    if len(sdp) > _MAX_SDP_CHARS or len(_FIRST_SECTION.findall(sdp)) > _MAX_SECTIONS:
        raise CallError(f"the other peer's {kind} is too large: is it a WebRTC peer?")
    bare = _ICE.sub("", sdp)
    try:
        parsed = SessionDescription.parse(bare)
    except Exception as error:  # the parser raises whatever a line makes it stumble over
        raise CallError(f"the other peer's {kind} cannot be read: is it a WebRTC peer?") from error
    if not any(one.ice is not None and one.ice.usernameFragment for one in parsed.media):
        raise CallError(f"the other peer's {kind} lacks media or ICE: is it a WebRTC peer?")
    return Description(
        RTCSessionDescription(sdp=bare, type=kind),
        tuple(_candidates(sdp)[:MAX_CANDIDATES]),
        complete=_END.search(sdp) is not None,
        gemino=_MARKED.search(sdp) is not None,
    )


def is_candidate(data: Mapping[str, Any]) -> bool:
    """Whether a message of the other peer is about a candidate."""
    return "candidate" in data


def read_candidate(data: Mapping[str, Any]) -> RTCIceCandidate | None:
    """A trickled candidate, as browsers write it; None for the word that there are no more.

    data: {"candidate": RTCIceCandidateInit or null}, or the former itself. Raises WireError.
    """
    inner = data["candidate"]
    fields = inner if isinstance(inner, Mapping) else data
    line = fields.get("candidate")
    if line is None or line == "":
        return None
    if not isinstance(line, str):
        raise WireError("an ICE candidate is no text")
    mid = fields.get("sdpMid")
    if mid is not None and not (isinstance(mid, str) and _MID.fullmatch(mid)):
        raise WireError("an ICE candidate's sdpMid is malformed")
    index = fields.get("sdpMLineIndex")
    if index is not None and not (type(index) is int and 0 <= index < _MAX_SECTIONS):
        raise WireError("an ICE candidate's sdpMLineIndex is out of range")
    return _parse(line, mid, 0 if mid is None and index is None else index)


def _parse(line: str, mid: str | None, index: int | None) -> RTCIceCandidate:
    found = _CANDIDATE.fullmatch(line) if len(line) <= _MAX_CANDIDATE_CHARS else None
    if found is None:
        raise WireError(f"an ICE candidate is malformed: {line[:60]!r}")
    try:
        candidate = candidate_from_sdp(found["line"])
    except ValueError as error:
        raise WireError(f"an ICE candidate is malformed: {error}") from error
    if not 1 <= candidate.port <= 65535 or candidate.priority >= 1 << 32:
        raise WireError(f"an ICE candidate is out of range: {line[:60]!r}")
    candidate.sdpMid, candidate.sdpMLineIndex = mid, index
    return candidate


def _candidates(sdp: str) -> list[RTCIceCandidate]:
    """All candidates of a description that can be used, each with its section's number."""
    found: list[RTCIceCandidate] = []
    index = -1
    for line in sdp.splitlines():
        if line.startswith("m="):
            index += 1
        elif line.startswith("a=candidate:") and index >= 0:
            try:
                found.append(_parse(line.removeprefix("a="), None, index))
            except WireError:
                continue  # of RTCP, or of a kind that is not known here
    return found
