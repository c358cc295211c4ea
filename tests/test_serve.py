"""The browser demo's server, without a browser: who may ask, what a page may say, a round trip."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.codecs.vpx import vp8_depayload
from aiortc.mediastreams import VIDEO_TIME_BASE
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gemino.call.display import ShownFrame
from gemino.cli.call import app as call_app
from gemino.cli.main import app as gemino_app
from gemino.errors import CallError, WireError
from gemino.frames import from_video_frame, prepare, to_video_frame
from gemino.media import read_frames
from gemino.server.access import Access, new_token
from gemino.server.app import PageServer, Place
from gemino.server.assets import read_assets
from gemino.server.devices import PageDevices
from gemino.server.local_video import LocalEncoder
from gemino.server.messages import MAX_KBPS, MIN_KBPS, Alive, Bye, Settings, parse
from gemino.server.roundtrip import RoundTrip
from gemino.server.running import serving
from gemino.server.session import Session
from gemino.server.windows import StreamRate, Window

WEBCAM = Path(__file__).parent.parent / "samples" / "webcam.mp4"
TOKEN = "a-token-of-a-test"  # noqa: S105 - opens nothing
SIZE_PX = 256
PATIENCE_S = 60.0


# ---- who may ask


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:8080", True),
        ("[::1]:8080", True),
        ("192.0.2.7", True),
        ("demo.example:8080", True),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[::1", False),
        (None, False),
    ],
)
def test_a_name_that_is_not_ours_is_refused(host: str | None, allowed: bool) -> None:
    access = Access(names=frozenset({"demo.example"}))
    assert access.host_allowed(host) is allowed


def test_only_the_page_that_we_serve_may_begin() -> None:
    access = Access()
    assert access.origin_allowed("http://127.0.0.1:8080", "127.0.0.1:8080")
    for origin in (None, "null", "http://127.0.0.1:8081", "https://127.0.0.1:8080", "http://x.y"):
        assert not access.origin_allowed(origin, "127.0.0.1:8080")


def test_the_token_must_be_whole() -> None:
    access = Access(token=TOKEN)
    assert access.token_matches(f"Bearer {TOKEN}")
    for wrong in (None, "", "Bearer", f"Bearer {TOKEN[:-1]}", "Bearer \N{SNOWMAN}"):
        assert not access.token_matches(wrong)
    assert new_token() != new_token()
    with pytest.raises(CallError, match="16 characters"):
        Access(token="short")  # noqa: S106 - it is too short


# ---- what a page may say


def settings(kbps: object, split: str = "false") -> str:
    return (
        f'{{"type": "settings", "kbps": {kbps}, "split": {split},'
        ' "thumbnail": false, "overlay": false}'
    )


def test_messages_of_the_page() -> None:
    settings = (
        '{"type": "settings", "kbps": 20, "split": true, "thumbnail": false, "overlay": false}'
    )
    assert parse(settings) == Settings(20.0, True, False)
    assert parse('{"type": "alive"}') == Alive()
    assert parse('{"type": "bye"}') == Bye()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        '{"type": "alive", "more": 1}',
        '{"type": "settings", "kbps": 20, "split": true}',
        settings(5),
        settings(401),
        settings("NaN"),
        settings("9" * 400),  # no float is so large
        settings("true"),
        settings('"20"'),
        settings(20, "1"),
        settings(20).replace("}", ', "x": 1}'),
        "[" * 500,
        " " * 513,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        parse(text)


@given(st.text(max_size=600) | st.binary(max_size=600))
def test_whatever_comes_there_is_a_message_or_a_wire_error(data: str | bytes) -> None:
    try:
        message = parse(data)
    except WireError:
        return
    assert isinstance(message, Settings | Alive | Bye)


@given(
    st.dictionaries(
        st.sampled_from(["type", "kbps", "split", "thumbnail", "overlay"]), st.just("x")
    )
)
def test_settings_are_in_bounds_or_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        parse(json.dumps(fields))


@given(st.floats(allow_nan=True) | st.integers())
def test_no_rate_out_of_bounds_gets_through(kbps: float) -> None:
    switches = {"split": False, "thumbnail": False, "overlay": False}
    text = json.dumps({"type": "settings", "kbps": kbps, **switches})
    try:
        message = parse(text)
    except WireError:
        assert not MIN_KBPS <= kbps <= MAX_KBPS
    else:
        assert isinstance(message, Settings)
        assert MIN_KBPS <= message.kbps <= MAX_KBPS


# ---- counting


def test_a_window_forgets() -> None:
    window = Window(2.0)
    for tenth in range(100):
        window.add(10, tenth / 10)
    assert window.per_second(9.9) == pytest.approx(100, rel=0.1)
    assert window.per_second(30.0) == 0.0


def test_references_count_over_a_minute_and_packets_have_headers() -> None:
    rate = StreamRate()
    for picture in range(61):
        rate.picture(50, picture / 30)
    rate.reference(7_500, 0.0)
    payload, onwire = rate.kbps(2.0)
    assert payload == pytest.approx(12.2 + 1.0, rel=0.02)
    assert onwire - payload == pytest.approx(12.2, rel=0.05)
    assert rate.kbps(61.0) == (0.0, 0.0)


# ---- the page's files


def test_the_page_is_light_and_asks_nobody_else() -> None:
    assets = read_assets()
    assert {"index.html", "style.css", "main.js", "icon.svg"} <= set(assets)
    assert sum(len(asset.body) for asset in assets.values()) <= 150_000
    for name, asset in assets.items():
        text = asset.body.decode()
        addresses = text.replace("http://www.w3.org/2000/svg", "").replace("http://localhost", "")
        assert "http" not in addresses.replace("https://,", ""), name
        assert " style=" not in text, f"{name}: the policy forbids style attributes"
        assert " onclick=" not in text, f"{name}: the policy forbids handlers in HTML"


# ---- over HTTP


@pytest_asyncio.fixture
async def server() -> AsyncIterator[PageServer]:
    trip = RoundTrip(None, SIZE_PX)
    async with PageServer(Place(port=0), Access(token=TOKEN), trip) as running:
        yield running
    await asyncio.to_thread(trip.close)


def own(server: PageServer, **changed: str | None) -> dict[str, str]:
    headers = {
        "Origin": f"http://127.0.0.1:{server.port}",
        "Authorization": f"Bearer {TOKEN}",
        **changed,
    }
    return {name: value for name, value in headers.items() if value is not None}


async def ask(
    server: PageServer, method: str, path: str, **more: Any
) -> tuple[int, dict[str, str], bytes]:
    url = f"http://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url, **more) as answer:
        return answer.status, dict(answer.headers), await answer.read()


async def test_the_page_comes_with_a_strict_policy(server: PageServer) -> None:
    status, headers, body = await ask(server, "GET", "/")
    assert status == 200
    assert body == read_assets()["index.html"].body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/none.js"])
async def test_no_other_file_can_be_had(server: PageServer, path: str) -> None:
    status, headers, _ = await ask(server, "GET", path)
    assert status == 404
    assert "Content-Security-Policy" in headers


async def test_a_rebound_name_gets_nothing(server: PageServer) -> None:
    for method, path in (("GET", "/"), ("GET", "/about"), ("POST", "/session")):
        status, _, body = await ask(server, method, path, headers={"Host": "evil.example"})
        assert status == 403
        assert b"not known by that name" in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
    ],
)
async def test_a_stranger_cannot_begin(
    server: PageServer, headers: dict[str, str | None], status: int
) -> None:
    answered, _, body = await ask(
        server, "POST", "/session", headers=own(server, **headers), data=b"{}"
    )
    assert answered == status
    assert json.loads(body)["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[" * 20_000, 400),
        (b"\xff\xfe", 400),
        (b'{"sdp": 7}', 400),
        (b'{"sdp": "v=0"}', 400),
        (b'{"sdp": "v=0\\r\\nm=video 9 X 96\\r\\n"}', 400),
        (json.dumps({"sdp": "v=0" + "\nm=audio 9 UDP/TLS/RTP/SAVPF 0" * 9}).encode(), 400),
        (b'{"sdp": "' + b"x" * 100_000 + b'"}', 413),
    ],
)
async def test_an_offer_that_is_none_is_refused(
    server: PageServer, body: bytes, status: int
) -> None:
    answered, _, _ = await ask(server, "POST", "/session", headers=own(server), data=body)
    assert answered == status


@pytest.mark.parametrize("left_out", ["a=mid:0", "a=rtpmap:98 rtx/90000", "m=video"])
async def test_an_offer_that_aiortc_stumbles_over_is_refused_and_closed(
    server: PageServer, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Session] = []
    close = Session.close

    async def noting(session: Session) -> None:
        await close(session)
        closed.append(session)

    monkeypatch.setattr(Session, "close", noting)
    page = RTCPeerConnection()
    page.createDataChannel("page", negotiated=True, id=0)
    page.addTransceiver("video")
    page.addTransceiver("audio")
    await page.setLocalDescription(await page.createOffer())
    lines = page.localDescription.sdp.splitlines()
    lines.remove(next(line for line in lines if line.startswith(left_out)))
    body = json.dumps({"sdp": "\r\n".join([*lines, ""])})
    answered, _, told = await ask(server, "POST", "/session", headers=own(server), data=body)
    await page.close()
    assert (answered, len(closed)) == (400, 1)
    assert "the page" in json.loads(told)["error"]


# ---- a page without a browser


class Clip(VideoStreamTrack):
    """The shipped clip at its own pace, again and again."""

    def __init__(self) -> None:
        super().__init__()
        frames = [timed.frame for _, timed in zip(range(30), read_frames(WEBCAM), strict=False)]
        self.pictures = [prepare(frame, SIZE_PX) for frame in frames]
        self.at = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        picture = av.VideoFrame.from_ndarray(self.pictures[self.at % 30], format="rgb24")
        picture.pts, picture.time_base = pts, time_base
        self.at += 1
        return picture


class Page:
    """What the page does, in Python."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.stats: dict[str, Any] = {}
        self.thumbnails: list[bytes] = []
        self.ended: str | None = None
        self.clip = Clip()
        self.connection = RTCPeerConnection()
        self.channel = self.connection.createDataChannel("page", negotiated=True, id=0)
        self.channel.on("message", self.hear)

    def hear(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            self.thumbnails.append(data)
            return
        message = json.loads(data)
        if message["type"] == "end":
            self.ended = message["reason"]
        else:
            self.stats = message
            self.channel.send('{"type": "alive"}')

    async def join(self) -> None:
        self.connection.addTrack(self.clip)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = json.dumps({"sdp": self.connection.localDescription.sdp})
        status, _, body = await ask(
            self.server, "POST", "/session", headers=own(self.server), data=offer
        )
        assert status == 200, body
        answer = RTCSessionDescription(json.loads(body)["sdp"], "answer")
        await self.connection.setRemoteDescription(answer)
        await until(lambda: self.channel.readyState == "open", "a connection")

    def set(self, **settings: Any) -> None:
        self.channel.send(json.dumps({"type": "settings", "overlay": False, **settings}))

    def track(self, kind: str) -> MediaStreamTrack:
        """What comes back."""
        return next(t.receiver.track for t in self.connection.getTransceivers() if t.kind == kind)

    async def shown(self) -> av.VideoFrame:
        picture = await asyncio.wait_for(self.track("video").recv(), PATIENCE_S)
        assert isinstance(picture, av.VideoFrame)
        return picture


async def until(true: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        await asyncio.sleep(0.05)


async def test_a_face_comes_back_and_the_page_is_told_how(server: PageServer) -> None:
    page = Page(server)
    await page.join()
    page.set(kbps=30, split=False, thumbnail=True)
    picture = await page.shown()
    assert (picture.width, picture.height) == (SIZE_PX, SIZE_PX)
    await until(lambda: page.stats.get("kbps") == 30 and page.stats["fps"] > 0, "statistics")
    await until(lambda: page.thumbnails, "an LR picture")
    assert page.thumbnails[0][:2] == b"\xff\xd8"
    # What comes back shows what was sent, and not something grey.
    shown = from_video_frame(await page.shown()).astype(int)
    assert min(np.abs(shown - sent).mean() for sent in page.clip.pictures) < 25
    assert shown.std() > 20
    assert page.stats["camera_px"] == [SIZE_PX, SIZE_PX]
    assert page.stats["lr_codec"] == "av1"
    assert page.stats["onwire_kbps"] > page.stats["payload_kbps"] > 0

    page.set(kbps=30, split=True, thumbnail=False)
    await until(lambda: page.stats["beside_px"] > 0, "plain VP8")
    deadline = time.monotonic() + PATIENCE_S
    while (picture := await page.shown()).width != 2 * SIZE_PX:
        assert time.monotonic() < deadline, "the two pictures never came side by side"
    # An LR stream is never larger than the picture, whatever the rate.
    page.set(kbps=400, split=True, thumbnail=False)
    await until(lambda: page.stats["lr_px"] == SIZE_PX, "a large LR stream")
    page.set(kbps=6, split=True, thumbnail=False)
    await until(lambda: page.stats["lr_px"] < SIZE_PX, "a small LR stream")
    await page.shown()
    assert page.ended is None
    page.channel.send('{"type": "bye"}')
    await page.connection.close()


async def test_a_second_page_takes_over_and_a_rude_one_is_put_out(server: PageServer) -> None:
    first, second = Page(server), Page(server)
    await first.join()
    await first.shown()
    await second.join()
    await until(lambda: first.ended, "the first page's end")
    assert first.ended is not None
    assert "taken over" in first.ended
    await second.shown()
    second.channel.send(
        '{"type": "settings", "kbps": 1e9, "split": false, "thumbnail": false, "overlay": false}'
    )
    await until(lambda: second.ended, "the second page's end")
    assert second.ended is not None
    assert "kbps must be" in second.ended
    await first.connection.close()
    await second.connection.close()


# ---- video on the local link


def test_a_picture_that_is_coded_already_is_sent_as_it_is() -> None:
    frame = to_video_frame(np.full((SIZE_PX, SIZE_PX, 3), 90, np.uint8), 0, VIDEO_TIME_BASE)
    sends, passes_on = LocalEncoder(), LocalEncoder()
    payloads, timestamp = sends.encode(frame)
    packet = av.Packet(b"".join(vp8_depayload(payload) for payload in payloads))
    packet.pts, packet.time_base = 3000, VIDEO_TIME_BASE
    assert timestamp == 0
    assert passes_on.pack(packet) == (payloads, 3000)


# ---- the page of a call


async def test_a_page_is_the_camera_the_sound_card_and_the_screen_of_a_call() -> None:
    devices = PageDevices(SIZE_PX, "none", 15.0)
    heard: list[np.ndarray[Any, np.dtype[np.int16]]] = []
    tone = np.full(960, 1000, np.int16)
    devices.record(None, lambda samples, _heard_s: heard.append(samples))
    devices.play(None, lambda count, _until_s: tone[:count])
    grey = np.full((SIZE_PX, SIZE_PX, 3), 200, np.uint8)
    async with PageServer(Place(port=0), Access(token=TOKEN), devices) as server:
        page = Page(server)
        page.connection.addTrack(AudioStreamTrack())
        await page.join()
        assert await asyncio.to_thread(devices.wait_for_page, PATIENCE_S)
        capture = devices.source().capture("", SIZE_PX)
        assert await asyncio.to_thread(capture.grab)
        there, picture = capture.retrieve()
        assert there
        sent = [frame[..., ::-1].astype(int) for frame in page.clip.pictures]
        assert min(np.abs(picture - one).mean() for one in sent) < 25
        await until(lambda: heard, "the page's microphone")

        # Two: aiortc's receiver gives a picture out when the next one comes.
        for _ in range(2):
            devices.show(ShownFrame(grey, 0.0, 0, time.monotonic(), False, 128))
            await asyncio.sleep(0.2)
        back = from_video_frame(await page.shown())
        assert np.abs(back.astype(int) - 200).max() < 8
        await until(lambda: page.stats.get("fps", 0) > 0, "statistics")
        assert page.stats["lr_px"] == 128
        assert isinstance(
            await asyncio.wait_for(page.track("audio").recv(), PATIENCE_S), av.AudioFrame
        )
        # A page that is gone is a camera that is unplugged.
        page.channel.send('{"type": "bye"}')
        deadline = time.monotonic() + PATIENCE_S
        while await asyncio.to_thread(capture.grab):
            assert time.monotonic() < deadline, "the camera never ended"
        await page.connection.close()
    devices.close()
    assert not capture.grab()


def test_a_page_server_beside_a_call_says_what_is_wrong() -> None:
    devices = PageDevices(SIZE_PX, "none", 15.0)
    with (
        serving(Place(port=0), Access(), devices) as port,
        pytest.raises(CallError, match="choose another"),
        serving(Place(port=port), Access(), devices),
    ):
        pytest.fail("two servers at one port")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "--browser", "x"], "is no port"),
        (["--listen", "--browser", "70000"], "is no port"),
        (["--listen", "--browser", "--test-pattern"], "name no others"),
        (["--loopback", str(WEBCAM), "--browser"], "name no others"),
        (["--listen", "--test-pattern", "--page-name", "x"], "add --browser"),
        (["--listen", "--browser", "--page-cert", "x.pem"], "both --page-cert and --page-key"),
        (["--listen", "--browser", "0", "--page-token", "short"], "at least 16"),
    ],
)
def test_a_wrong_browser_says_so_in_a_line(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(call_app, arguments)
    assert result.exit_code != 0
    assert words in str(result.exception)


# ---- the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cert", "x.pem"], "both --cert and --key"),
        (["--cert", "x.pem", "--key", "y.pem"], "no such file"),
        (["--token", "short"], "at least 16"),
        (["--model", "no-such-model"], "no-such-model"),
    ],
)
def test_a_wrong_command_says_so_in_a_line(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(gemino_app, ["serve", *arguments])
    assert result.exit_code != 0
    assert words in str(result.exception)


async def test_a_port_in_use_is_said_in_words(server: PageServer) -> None:
    trip = RoundTrip(None, SIZE_PX)
    try:
        with pytest.raises(CallError, match="choose another"):
            async with PageServer(Place(port=server.port), Access(), trip):
                pytest.fail("two servers at one port")
    finally:
        await asyncio.to_thread(trip.close)
