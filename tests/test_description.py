"""Descriptions and candidates of the other peer: what is read of them, and what is refused."""

import contextlib
import random
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from gemino.call.description import (
    MAX_CANDIDATES,
    from_message,
    is_candidate,
    read_candidate,
    to_message,
)
from gemino.errors import CallError, WireError

LINE = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.7 rport 4"
HOSTS = "".join(
    f"a=candidate:1 1 udp 2130706431 192.0.2.{number} 9 typ host\r\n" for number in range(1, 200)
)


async def offer(*kinds: str) -> RTCSessionDescription:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        connection.addTransceiver(kind)
    try:
        await connection.setLocalDescription(await connection.createOffer())
        return connection.localDescription
    finally:
        await connection.close()


async def test_a_description_says_that_we_are_gemino_and_what_will_follow() -> None:
    mine = await offer("video", "audio")
    sent = to_message(mine)
    assert "a=extmap:" in mine.sdp
    assert "a=extmap:" not in sent["sdp"]
    read = from_message(sent)
    assert (read.gemino, read.complete, read.session.type) == (True, True, "offer")
    assert "a=candidate" not in read.session.sdp
    sections = mine.sdp.count("m=")
    assert len(read.candidates) == mine.sdp.count("a=candidate:")
    assert {one.sdpMLineIndex for one in read.candidates} <= set(range(sections))
    trickled = from_message(to_message(mine, more_to_come=True))
    assert not trickled.complete
    plain = from_message({"type": "offer", "sdp": mine.sdp})
    assert not plain.gemino
    assert plain.session.sdp.count("m=") == sections


async def test_a_description_names_no_more_candidates_than_are_tried() -> None:
    sdp = (await offer("video")).sdp
    flooded = sdp + HOSTS
    assert len(from_message({"type": "offer", "sdp": flooded}).candidates) == MAX_CANDIDATES


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"sdp": "v=0", "type": "offer"},
        {"sdp": "", "type": "offer"},
        {"sdp": None, "type": "offer"},
        {"sdp": "v=0\r\n", "type": "pranswer"},
        {"sdp": "v=0\r\n" * 20_000, "type": "offer"},
        {"sdp": "m=video 9 UDP/TLS/RTP/SAVPF 97\r\n" * 17, "type": "answer"},
        {"sdp": "m=video x y\r\na=rtpmap:\r\n", "type": "offer"},
        {"sdp": "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 97\r\n", "type": "offer"},
    ],
)
def test_what_is_no_description_is_one_line(data: dict[str, Any]) -> None:
    with pytest.raises(CallError, match="the other peer") as refused:
        from_message(data)
    assert "\n" not in str(refused.value)


async def test_a_damaged_description_is_read_or_refused_and_nothing_else() -> None:
    sdp = (await offer("video", "audio")).sdp
    dice = random.Random(7)
    for _ in range(600):
        text = list(sdp)
        for _ in range(dice.randint(1, 12)):
            at = dice.randrange(len(text))
            text[at] = dice.choice(
                ["", "\r\n", " ", ":", "0", "999999999999", "\x00", text[at] * 3]
            )
        with contextlib.suppress(CallError):
            from_message({"type": "offer", "sdp": "".join(text)})


def test_candidates_are_read_as_browsers_write_them() -> None:
    whole = {"candidate": {"candidate": LINE, "sdpMid": "0", "sdpMLineIndex": 0}}
    for message in (whole, whole["candidate"], {"candidate": {"candidate": LINE}}):
        assert is_candidate(message)
        candidate = read_candidate(message)
        assert candidate is not None
        assert (candidate.ip, candidate.port, candidate.type) == ("203.0.113.7", 46154, "srflx")
        assert (candidate.sdpMid, candidate.sdpMLineIndex) in (("0", 0), (None, 0))
    for end in ({"candidate": None}, {"candidate": ""}, {"candidate": {"candidate": ""}}):
        assert read_candidate(end) is None


@pytest.mark.parametrize(
    "candidate",
    [
        7,
        {"candidate": 7},
        {"candidate": "x"},
        {"candidate": LINE + " x" * 300},
        {"candidate": LINE.replace("46154", "0")},
        {"candidate": LINE.replace("46154", "99999")},
        {"candidate": LINE.replace(" 1 udp", " 2 udp")},
        {"candidate": LINE.replace("srflx", "magic")},
        {"candidate": LINE.replace("203.0.113.7", "a\nb")},
        {"candidate": LINE, "sdpMid": "x" * 99},
        {"candidate": LINE, "sdpMid": 1},
        {"candidate": LINE, "sdpMLineIndex": -1},
        {"candidate": LINE, "sdpMLineIndex": True},
        {"candidate": LINE, "sdpMLineIndex": 1e9},
        {"candidate": LINE.replace(" raddr 10.0.0.7 rport 4", " raddr x rport y")},
    ],
)
def test_a_malformed_candidate_is_refused(candidate: object) -> None:
    with pytest.raises(WireError, match="an ICE candidate"):
        read_candidate({"candidate": candidate})
