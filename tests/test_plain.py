"""Calls with peers that are no Gemino: a stock aiortc, and a browser."""

import asyncio
from fractions import Fraction
from pathlib import Path
from typing import Any

import aioice.ice
import av
import numpy as np
import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.rtp import RtcpSrPacket

from gemino.call.adaptation import split
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.peer import Peer
from gemino.call.plain_pictures import plain_steps
from gemino.call.signaling import SignalingClient
from gemino.call.sources import ClipSource, PatternSource
from gemino.errors import CallError
from gemino.frames import Frame, letterbox
from gemino.media import probe, read_audio, read_frames
from signaling import SignalingServer

SIZE_PX = 256
MEDIA = MediaOptions(size_px=SIZE_PX, model=None, kbps=40.0)


@pytest.fixture(autouse=True)
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer with `local` replaces this for its process; put it back after the test."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)


class Bars(VideoStreamTrack):
    """A landscape camera: green, with a red half on the left."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self._frame = np.zeros((height, width, 3), np.uint8)
        self._frame[:, :, 1] = 160
        self._frame[:, : width // 2] = (200, 30, 30)

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame.from_ndarray(self._frame, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """A microphone that hears 440 Hz."""

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        assert isinstance(frame, av.AudioFrame)
        assert frame.pts is not None
        at = (frame.pts + np.arange(frame.samples)) / frame.sample_rate
        samples = (8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
        made = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        made.pts, made.sample_rate = frame.pts, frame.sample_rate
        made.time_base = Fraction(1, frame.sample_rate)
        return made


class Stock:
    """An aiortc program that knows nothing of Gemino: its own VP8 and Opus, and no data channel.

    pictures, sounds: what it has received. said: what sender reports told of each kind, seconds
    since 1900 and an RTP timestamp.
    """

    def __init__(self, url: str, *tracks: MediaStreamTrack) -> None:
        self.pictures: list[Frame] = []
        self.sounds = 0
        self.said: dict[str, tuple[float, int]] = {}
        self._url = url
        self._tracks = tracks
        self._readers: list[asyncio.Task[None]] = []

    async def call(self, done: asyncio.Event) -> None:
        """Join, offer or answer as it comes, and stay until `done`."""
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.on("track", self._read)
        for track in self._tracks:
            connection.addTrack(track)
        try:
            async with SignalingClient(self._url, "room") as signaling:
                if signaling.peers:
                    await connection.setLocalDescription(await connection.createOffer())
                    await self._send(signaling, connection)
                    await connection.setRemoteDescription(await self._receive(signaling))
                else:
                    await connection.setRemoteDescription(await self._receive(signaling))
                    await connection.setLocalDescription(await connection.createAnswer())
                    await self._send(signaling, connection)
                self._note_reports(connection)
                await done.wait()
        finally:
            for reader in self._readers:
                reader.cancel()
            await connection.close()

    async def _send(self, signaling: SignalingClient, connection: RTCPeerConnection) -> None:
        mine = connection.localDescription
        await signaling.send({"type": mine.type, "sdp": mine.sdp})

    async def _receive(self, signaling: SignalingClient) -> RTCSessionDescription:
        while (event := await signaling.receive())["type"] != "message":
            pass
        return RTCSessionDescription(**event["data"])

    def _note_reports(self, connection: RTCPeerConnection) -> None:
        for transceiver in connection.getTransceivers():
            receiver: Any = transceiver.receiver
            handle, kind = receiver._handle_rtcp_packet, transceiver.kind

            async def noted(packet: Any, handle: Any = handle, kind: str = kind) -> None:
                await handle(packet)
                if isinstance(packet, RtcpSrPacket):
                    told = packet.sender_info
                    self.said[kind] = told.ntp_timestamp / (1 << 32), told.rtp_timestamp

            receiver._handle_rtcp_packet = noted

    def _read(self, track: MediaStreamTrack) -> None:
        async def read() -> None:
            while True:
                frame: Any = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    self.pictures.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                else:
                    self.sounds += bool(np.abs(frame.to_ndarray()).max() > 100)

        self._readers.append(asyncio.create_task(read()))


@pytest.mark.parametrize("stock_first", [True, False])
async def test_a_stock_peer_and_ours_see_and_hear_each_other(
    stock_first: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output, done = tmp_path / "received.mp4", asyncio.Event()
    async with SignalingServer() as server:
        stock = Stock(server.url, Bars(320, 180), Tone())
        options = PeerOptions(
            "room", server.url, MEDIA, source=talking(), output=output, local=True
        )
        peer = Peer(options, lambda _peer, _now: None)
        first, second = (stock.call(done), peer.run())[:: 1 if stock_first else -1]
        tasks = [asyncio.create_task(first)]
        await wait_for_room(server)
        tasks.append(asyncio.create_task(second))
        await until(lambda: len(stock.pictures) > 8 and stock.sounds > 5 and shown(peer) > 15)
        done.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)  # it left: a call's good end
    assert "the other peer is no Gemino" in caplog.text
    assert peer.setup()["other"] == "plain"
    picture = stock.pictures[-1]
    assert picture.shape == (SIZE_PX, SIZE_PX, 3)  # 40 kbps pay for that
    received = [timed.frame for timed in read_frames(output)][-1]
    assert received.shape == (SIZE_PX, SIZE_PX, 3)
    top, left, right = received[8], received[128, 40], received[128, 210]
    assert top.max() < 40  # all of a landscape picture, with borders
    assert left[0] > 150 > 80 > left[1]
    assert right[1] > 120 > 80 > right[0]
    assert probe(output).has_audio
    sound = np.concatenate(list(read_audio(output))).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound[:48_000]))
    tone_hz = int(np.argmax(spectrum[100:])) + 100
    assert abs(tone_hz * 48_000 / len(sound[:48_000]) - 440) < 10
    assert peer.outgoing is not None
    assert peer.outgoing.counters.reference_bytes == 0
    assert peer.outgoing.counters.lr_codec == "vp8"


async def test_our_reports_pair_sound_and_pictures_by_when_they_were_taken(tmp_path: Path) -> None:
    done = asyncio.Event()
    async with SignalingServer() as server:
        stock = Stock(server.url, Bars(64, 64))
        output = tmp_path / "x.mp4"
        options = PeerOptions(
            "room", server.url, MEDIA, source=talking(), output=output, local=True
        )
        peer = Peer(options, lambda _peer, _now: None)
        tasks = [asyncio.create_task(stock.call(done))]
        await wait_for_room(server)
        tasks.append(asyncio.create_task(peer.run()))
        await until(lambda: len(stock.said) == 2)
        outgoing = peer.outgoing
        assert outgoing is not None
        offsets = {"video": outgoing.shown._offset, "audio": outgoing.sound._offset}
        done.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
    began_s = {}
    for kind, rate_hz in (("video", 90_000), ("audio", 48_000)):
        said_at_s, timestamp = stock.said[kind]
        offset = offsets[kind]
        assert offset is not None
        began_s[kind] = said_at_s - (timestamp - offset) % (1 << 32) / rate_hz
    assert began_s["audio"] == pytest.approx(began_s["video"], abs=0.005)


def talking() -> ClipSource:
    """A clip with sound that can be heard, again and again."""
    return ClipSource(Path(__file__).parents[1] / "samples" / "address.mp4", loop=True)


def shown(peer: Peer) -> int:
    return peer.incoming.counters.frames if peer.incoming is not None else 0


async def until(reached: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110 - others count, nobody tells
            await asyncio.sleep(0.05)


async def wait_for_room(server: SignalingServer) -> None:
    await until(lambda: server._switchboard.gauges()["peers"] == 1)


async def test_a_stock_peer_may_send_nothing_or_take_nothing(tmp_path: Path) -> None:
    done = asyncio.Event()
    async with SignalingServer() as server:
        stock = Stock(server.url, Bars(180, 320))
        options = PeerOptions("room", server.url, MEDIA, output=tmp_path / "x.mp4", local=True)
        peer = Peer(options, lambda _peer, _now: None)
        tasks = [asyncio.create_task(stock.call(done))]
        await wait_for_room(server)
        tasks.append(asyncio.create_task(peer.run()))
        await until(lambda: shown(peer) > 5)
        done.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        assert stock.pictures == []
    (frame, *_) = [timed.frame for timed in read_frames(tmp_path / "x.mp4")]
    assert frame[128, 8].max() < 40  # a portrait picture has its borders at the sides


async def test_a_peer_that_takes_no_vp8_is_told() -> None:
    done = asyncio.Event()
    async with SignalingServer() as server:
        media = MediaOptions(size_px=SIZE_PX, model=None, lr_codec="av1")
        options = PeerOptions("room", server.url, media, source=PatternSource(), local=True)
        peer = Peer(options, lambda _peer, _now: None)
        ours = asyncio.create_task(peer.run())
        await wait_for_room(server)
        stock = asyncio.create_task(Stock(server.url, Bars(64, 64)).call(done))
        with pytest.raises(CallError, match="does not take av1: start both with --lr-codec auto"):
            await ours
        stock.cancel()
        await asyncio.gather(stock, return_exceptions=True)


@pytest.mark.parametrize(
    ("kbps", "size_px", "sent_px"),
    [(6, 512, 64), (15, 512, 128), (40, 512, 256), (200, 512, 512), (1000, 512, 512)],
)
def test_the_size_suits_the_rate(kbps: float, size_px: int, sent_px: int) -> None:
    budget = split(kbps, size_px, "vp8", plain_steps(size_px), plain=True)
    assert budget.rung.size_px == sent_px
    assert budget.rung.video_kbps == kbps
    assert budget.reference_kbps == 0


def test_a_letterbox_keeps_the_whole_picture() -> None:
    wide = np.full((90, 160, 3), 200, np.uint8)
    square = letterbox(wide)
    assert square.shape == (160, 160, 3)
    assert np.array_equal(square[35:125], wide)
    assert square[:35].max() == square[125:].max() == 0
    assert letterbox(square) is square
