"""Whole calls: real processes, real ICE, DTLS and SRTP over UDP, real codecs."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import aioice.ice
import numpy as np
import pytest
from numpy.typing import NDArray

from gemino.call import loopback
from gemino.call.options import (
    LoopbackOptions,
    LoopbackReport,
    LrChoice,
    MediaOptions,
    PeerOptions,
)
from gemino.call.peer import Peer
from gemino.call.sender import PictureSender
from gemino.call.sources import ClipSource
from gemino.errors import CallError, GeminoError, MediaError, ModelError
from gemino.frames import Frame, prepare, resize
from gemino.media import MovieWriter, probe, read_audio, read_frames
from signaling import SignalingServer
from tiny_model import write_tiny_model

SAMPLES = Path(__file__).parents[1] / "samples"
ADDRESS = SAMPLES / "address.mp4"
SIZE_PX = 256
KBPS = 22.0  # enough for the small picture to follow a face, and too little for a larger one
CLASSICAL = MediaOptions(size_px=SIZE_PX, model=None)


def make_clip(
    path: Path, frames: int, size: tuple[int, int] = (160, 90), *, seconds_of_sound: float = 0
) -> Path:
    """A clip of a bright bar that moves right, lossless so that any size is allowed."""
    rate = 48_000 if seconds_of_sound else None
    with MovieWriter(path, size, Fraction(15), audio_rate_hz=rate) as movie:
        for number in range(frames):
            frame = np.full((size[1], size[0], 3), 40, np.uint8)
            at = number * size[0] // max(frames, 1)
            frame[:, at : at + size[0] // 8] = 220
            movie.write(frame, number / 15)
        if rate is not None:
            movie.write_audio(np.zeros(round(seconds_of_sound * rate), np.int16))
    return path


def movie_frames(path: Path) -> list[Frame]:
    return [timed.frame for timed in read_frames(path)]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoopbackReport, Path]:
    """One loopback call for many questions."""
    folder = tmp_path_factory.mktemp("call")
    options = LoopbackOptions(
        ADDRESS,
        MediaOptions(kbps=KBPS, size_px=SIZE_PX, model=None, seconds=4),
        output=folder / "received.mp4",
        record_lossless=folder / "shown.mkv",
        stats=folder / "stats.jsonl",
    )
    lines: list[tuple[str, str]] = []
    report = loopback.run(options, lambda name, line: lines.append((name, line)))
    (folder / "lines.json").write_text(json.dumps(lines))
    return report, folder


def test_most_frames_are_sent_and_shown(call: tuple[LoopbackReport, Path]) -> None:
    report, folder = call
    assert 49 <= report.frames_in_clip <= 51  # at 25 a second, every second one
    assert report.seconds == pytest.approx(4.0, abs=0.1)
    # Where tests run, other work may take most of the processor; what is late is left out.
    assert 0.1 * report.frames_in_clip < report.frames_shown <= report.frames_sent
    shown = report.frames_shown + report.frames_interpolated
    assert shown == len(movie_frames(folder / "received.mp4"))
    assert report.fps_shown == pytest.approx(shown / report.seconds, abs=0.01)
    assert report.frames_neural == 0
    assert (report.model, report.size, report.lr_px) == ("classical", SIZE_PX, 128)
    assert report.lr_codec == "av1"


def test_the_rates_are_those_asked_for_and_add_up(call: tuple[LoopbackReport, Path]) -> None:
    report, _ = call
    sent = report.frames_sent / report.frames_in_clip
    assert 0.6 * KBPS * sent < report.lr_kbps < KBPS
    assert report.payload_kbps == pytest.approx(report.lr_kbps + report.reference_kbps, abs=0.01)
    assert report.reference_bytes * 8 / 60_000 == pytest.approx(report.reference_kbps, abs=0.01)
    assert 3 < report.audio_kbps < 11
    assert report.total_kbps == pytest.approx(report.payload_kbps + report.audio_kbps, abs=0.01)
    assert 1 <= report.references <= 5  # a second apart at the least, but for the coarse first
    packets = report.frames_sent + 4.0 / 0.06
    least = report.lr_kbps + report.audio_kbps + packets * 50 * 8 / 1000 / report.seconds
    assert (
        least + report.reference_kbps < report.onwire_kbps < 1.4 * (least + report.reference_kbps)
    )
    # and the reference in full, as it crossed in these four seconds, with everything's overhead
    least += report.reference_bytes * 8 / 1000 / report.seconds
    assert least < report.onwire_bytes * 8 / 1000 / report.seconds < 1.6 * least


def test_memory_and_times_are_reported(call: tuple[LoopbackReport, Path]) -> None:
    report, _ = call
    assert report.latency_ms["p50"] is not None
    assert report.latency_ms["p95"] is not None
    assert 1 < report.latency_ms["p50"] <= report.latency_ms["p95"] < 20_000
    assert all(20 < peak < 1_500 for peak in report.peak_rss_mb.values())
    assert json.loads(json.dumps(report.to_json()))["frames_sent"] == report.frames_sent


def test_every_shown_frame_names_its_source(call: tuple[LoopbackReport, Path]) -> None:
    """The recorded frame looks like the source frame it names, and least like none nearby."""
    _, folder = call
    rows = [json.loads(line) for line in (folder / "shown.jsonl").read_text().splitlines()]
    shown = movie_frames(folder / "shown.mkv")
    assert len(rows) == len(shown)
    indexes = [row["source_index"] for row in rows]
    assert indexes == sorted(set(indexes))
    assert indexes[0] == 0
    source = [prepare(timed.frame, 128) for timed in islice(read_frames(ADDRESS), 101)]
    offsets = []
    for row, frame in list(zip(rows, shown, strict=True))[len(rows) // 3 :: 3]:
        small = resize(frame, 128).astype(np.int16)
        near = range(row["source_index"] - 4, min(row["source_index"] + 5, len(source)))
        errors = [float(np.abs(source[index] - small).mean()) for index in near]
        offsets.append(int(np.argmin(errors)) - 4)
        assert row["source_time_s"] == pytest.approx(row["source_index"] / 25, abs=0.01)
    # A starved codec leaves parts of a picture as they were a frame before.
    assert np.median(offsets) == 0
    assert np.mean(np.abs(offsets) > 1) <= 0.15


def test_sound_is_where_the_picture_is(call: tuple[LoopbackReport, Path]) -> None:
    """The envelope of the received sound fits the clip's best without a shift."""
    _, folder = call

    def envelope(path: Path) -> NDArray[np.float64]:
        sound = np.concatenate(list(read_audio(path)))[: 48_000 * 4].astype(np.float64)
        loudness = np.abs(sound[: len(sound) // 240 * 240]).reshape(-1, 240).mean(1)  # 5 ms
        return np.asarray(loudness, np.float64)

    sent, received = envelope(ADDRESS), envelope(folder / "received.mp4")
    length = min(len(sent), len(received))
    assert length > 700
    shifts = range(-40, 41)
    fits = [
        np.corrcoef(sent[40 : length - 40], received[40 + s : length - 40 + s])[0, 1]
        for s in shifts
    ]
    assert max(fits) > 0.8
    assert abs(shifts[int(np.argmax(fits))]) * 5 <= 25  # milliseconds


def test_both_peers_tell_how_it_goes(call: tuple[LoopbackReport, Path]) -> None:
    _, folder = call
    lines = json.loads((folder / "lines.json").read_text())
    assert {name for name, _ in lines} == {"sender", "receiver"}
    assert all("on the wire" in line for _, line in lines)
    assert any("LR av1 128 px" in line for _, line in lines)
    rows = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    assert {row["type"] for row in rows} == {"outbound-rtp", "inbound-rtp"}


def children(parent: int) -> list[int]:
    """Live processes that descend from `parent`, as far as /proc tells."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_loopback(clip: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gemino.cli.call", "--loopback", str(clip), "--model", "none"]
    command += ["--size", str(SIZE_PX), "-o", str(output), *more]
    return start(command)


def wait_until_shown(stats: Path, process: subprocess.Popen[str]) -> None:
    """Until a receiver's statistics, a line a second, tell of shown frames."""
    deadline = time.monotonic() + 100
    while True:
        rows = stats.read_text().splitlines() if stats.exists() else []
        if any(json.loads(row).get("framesRendered", 0) for row in rows if row.endswith("}")):
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")
def test_ctrl_c_leaves_no_process_and_a_playable_file(tmp_path: Path) -> None:
    output, stats = tmp_path / "received.mp4", tmp_path / "stats.jsonl"
    process = start_loopback(ADDRESS, output, "--stats", str(stats))
    wait_until_shown(stats, process)
    peers = children(process.pid)
    assert len(peers) == 2
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{peer}").exists() for peer in peers)
    assert 0 < len(movie_frames(output)) < 250


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")
def test_ctrl_c_before_the_call_has_begun(tmp_path: Path) -> None:
    process = start_loopback(ADDRESS, tmp_path / "received.mp4")
    deadline = time.monotonic() + 60
    while len(peers := children(process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in errors) == (130, False)
    assert not any(Path(f"/proc/{peer}").exists() for peer in peers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")
async def test_a_receiver_whose_peer_is_killed_says_so_and_keeps_its_movie(tmp_path: Path) -> None:
    output, stats = tmp_path / "received.mp4", tmp_path / "stats.jsonl"
    async with SignalingServer() as server:
        base = [sys.executable, "-m", "gemino.cli.call", "--peer", "room", "--server", server.url]
        base += ["--local", "--size", str(SIZE_PX), "--model", "none"]
        sender = start([*base, "--input", str(ADDRESS)])
        receiver = start([*base, "-o", str(output), "--stats", str(stats)])
        await asyncio.to_thread(wait_until_shown, stats, receiver)
        sender.kill()
        killed_at = time.monotonic()
        _, errors = await asyncio.to_thread(receiver.communicate, timeout=30)
        taken_s = time.monotonic() - killed_at
        sender.communicate()
    assert receiver.returncode == 2
    assert taken_s < 15  # 4 s of silence, and a busy machine's time to finish the file
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: the other peer is gone: nothing came for")
    assert "Traceback" not in errors
    assert 0 < len(movie_frames(output)) < 250


async def test_a_peer_without_av1_gets_vp8(tmp_path: Path) -> None:
    """Two processes, of which the receiver has VP8 alone."""
    clip, output = make_clip(tmp_path / "clip.mkv", 8), tmp_path / "out.mp4"
    async with SignalingServer() as server:
        base = [sys.executable, "-m", "gemino.cli.call", "--peer", "room", "--server", server.url]
        base += ["--local", "--size", str(SIZE_PX), "--model", "none", "--json"]
        peers = [
            start([*base, "--input", str(clip)]),
            start([*base, "-o", str(output), "--lr-codec", "vp8"]),
        ]
        ends = [asyncio.to_thread(peer.communicate, timeout=100) for peer in peers]
        (sent, said), (received, _) = await asyncio.gather(*ends)
    assert peers[0].returncode == 0, said
    assert json.loads(sent)["sent"]["lr_codec"] == "vp8"
    assert json.loads(received)["received"]["lr_codec"] == "vp8"
    assert 0 < len(movie_frames(output)) < 16  # with those between


@contextlib.asynccontextmanager
async def pair(
    monkeypatch: pytest.MonkeyPatch, sending: dict[str, Any], receiving: dict[str, Any]
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two peers in this process, for what a test must do to one of them."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    async with SignalingServer() as server:
        common: dict[str, Any] = {
            "room": "room",
            "server_url": server.url,
            "media": CLASSICAL,
            "local": True,
        }
        yield (
            Peer(PeerOptions(**(common | sending)), lambda _peer, _now: None),
            Peer(PeerOptions(**(common | receiving)), lambda _peer, _now: None),
        )


async def test_garbage_on_the_data_channel_is_dropped_and_the_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 30, seconds_of_sound=1.0)
    output = tmp_path / "received.mp4"
    junk: list[bytes | str] = [b"", b"\xff" * 10, b"\x03" + bytes(5), "text"]
    junk += [bytes([1]) * 30, bytes(2000), b"\x0a"]
    async with pair(monkeypatch, {"source": ClipSource(clip)}, {"output": output}) as (
        sender,
        receiver,
    ):

        async def disturb() -> None:
            while sender.outgoing is None:  # noqa: ASYNC110 - made in the first moments of `run`
                await asyncio.sleep(0)
            await sender.outgoing.clock.wait()
            for data in junk:
                for peer in (sender, receiver):
                    assert peer._link.channel is not None
                    peer._link.channel.send(data)

        await asyncio.gather(sender.run(), receiver.run(), disturb())
    assert sender.outgoing is not None
    assert receiver.incoming is not None
    assert sender.outgoing.counters.garbage == len(junk)
    assert receiver.incoming.counters.garbage == len(junk)
    told = [one for one in caplog.records if "dropped a message" in one.message]
    assert [one.levelname for one in told] == ["WARNING"] * 2  # one of each peer: no flood
    assert receiver.incoming.counters.references >= 1
    assert len(movie_frames(output)) == receiver.incoming.counters.frames > 0


async def test_two_peers_may_both_send_and_receive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [
        make_clip(tmp_path / "one.mkv", 30, seconds_of_sound=1.0),
        make_clip(tmp_path / "two.mkv", 15, (90, 160)),
    ]
    outputs = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    ways: list[dict[str, Any]] = [
        {"source": ClipSource(clip), "output": output}
        for clip, output in zip(clips, outputs, strict=True)
    ]
    async with pair(monkeypatch, ways[0], ways[1]) as (one, two):
        await asyncio.gather(one.run(), two.run())
    for peer, other in ((one, two), (two, one)):
        assert peer.incoming is not None
        assert other.outgoing is not None
        sent = other.outgoing.counters.frames
        shown = peer.incoming.counters
        assert 1 <= shown.frames - shown.frames_interpolated <= sent
    assert probe(outputs[1]).has_audio
    assert not probe(outputs[0]).has_audio


async def test_the_network_takes_over_when_its_reference_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, output = make_clip(tmp_path / "clip.mkv", 30), tmp_path / "shown.mkv"
    media = MediaOptions(size_px=SIZE_PX, model=str(write_tiny_model(tmp_path / "tiny").path))
    receiving = {"lossless": output, "media": media, "frame_log": tmp_path / "log.jsonl"}
    async with pair(monkeypatch, {"source": ClipSource(clip)}, receiving) as (sender, receiver):
        await asyncio.gather(sender.run(), receiver.run())
    assert receiver.incoming is not None
    neural = [bool(row["neural"]) for row in receiver.incoming.frame_log()]
    assert neural == sorted(neural)  # classical pictures first, from then on neural ones
    assert receiver.incoming.counters.frames_neural == sum(neural) > 0
    assert receiver.incoming.viewer.model_name == "tiny"
    assert len(movie_frames(output)) == len(neural)


async def test_a_reference_that_cannot_be_decoded_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, output = make_clip(tmp_path / "clip.mkv", 30), tmp_path / "out.mp4"
    asked: list[PictureSender] = []

    def ask(pictures: PictureSender) -> None:
        asked.append(pictures)

    monkeypatch.setattr(PictureSender, "request_reference", ask)
    async with pair(monkeypatch, {"source": ClipSource(clip)}, {"output": output}) as (
        sender,
        receiver,
    ):

        async def send_junk() -> None:
            while sender.outgoing is None:  # noqa: ASYNC110 - made in the first moments of `run`
                await asyncio.sleep(0)
            await sender.outgoing.clock.wait()
            sender.outgoing.side.references.send(b"\x01" + bytes(99))
            sender.outgoing._pictures.take_references()

        await asyncio.gather(sender.run(), receiver.run(), send_junk())
    assert receiver.incoming is not None
    assert receiver.incoming.viewer.rejected_references == 1
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("sends", "receives", "agreed"),
    [("vp8", "auto", "vp8"), ("auto", "vp8", "vp8"), ("av1", "auto", "av1")],
)
async def test_the_lr_codec_is_one_that_both_take(
    sends: LrChoice,
    receives: LrChoice,
    agreed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip, output = make_clip(tmp_path / "clip.mkv", 8), tmp_path / "out.mp4"
    sending = {"source": ClipSource(clip), "media": replace(CLASSICAL, lr_codec=sends)}
    receiving = {"output": output, "media": replace(CLASSICAL, lr_codec=receives)}
    async with pair(monkeypatch, sending, receiving) as (sender, receiver):
        await asyncio.gather(sender.run(), receiver.run())
    assert sender.outgoing is not None
    assert receiver.incoming is not None
    assert sender.outgoing.counters.lr_codec == agreed
    assert receiver.incoming.counters.lr_codec == agreed
    assert sender.outgoing.counters.references == 1  # primed once, whatever was agreed
    assert receiver.incoming.counters.references == 1
    assert receiver.incoming.counters.plis <= 1
    assert len(movie_frames(output)) > 0


async def test_peers_without_a_common_lr_codec_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 5)
    sending = {"source": ClipSource(clip), "media": replace(CLASSICAL, lr_codec="av1")}
    receiving = {"output": tmp_path / "x.mp4", "media": replace(CLASSICAL, lr_codec="vp8")}
    async with pair(monkeypatch, sending, receiving) as (sender, receiver):
        ends = await asyncio.gather(sender.run(), receiver.run(), return_exceptions=True)
    assert all(isinstance(end, CallError) for end in ends)
    assert any("start both with --lr-codec auto" in str(end) for end in ends)


async def test_peers_of_different_sizes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 5)
    other = {"output": tmp_path / "out.mp4", "media": MediaOptions(size_px=512, model=None)}
    async with pair(monkeypatch, {"source": ClipSource(clip)}, other) as (sender, receiver):
        ends = await asyncio.gather(sender.run(), receiver.run(), return_exceptions=True)
    assert any("start both with one --size" in str(end) for end in ends)
    assert all(isinstance(end, CallError) for end in ends)


@pytest.mark.parametrize(
    ("frames", "size"), [(1, (160, 90)), (12, (321, 181)), (12, (90, 160))], ids=str
)
async def test_odd_clips_make_calls_too(
    frames: int, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, output = make_clip(tmp_path / "clip.mkv", frames, size), tmp_path / "out.mp4"
    async with pair(monkeypatch, {"source": ClipSource(clip)}, {"output": output}) as (
        sender,
        receiver,
    ):
        await asyncio.gather(sender.run(), receiver.run())
    assert sender.outgoing is not None
    assert sender.outgoing.video.sent + sender.outgoing.video.dropped == frames
    assert 1 <= len(movie_frames(output)) < 2 * frames
    assert movie_frames(output)[0].shape == (SIZE_PX, SIZE_PX, 3)
    assert not probe(output).has_audio


def test_what_cannot_be_called_is_said_before_any_process_starts(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    cases: list[tuple[LoopbackOptions, type[GeminoError], str]] = [
        (LoopbackOptions(tmp_path / "none.mp4", CLASSICAL), MediaError, "no such file"),
        (LoopbackOptions(text, CLASSICAL), MediaError, "cannot be read as video"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message):
            loopback.run(options)


async def test_a_port_in_use_is_said() -> None:
    async with SignalingServer() as server:
        options = LoopbackOptions(ADDRESS, CLASSICAL, port=server.port)
        with pytest.raises(CallError, match="choose another port"):
            await asyncio.to_thread(loopback.run, options)


async def test_a_missing_model_is_said_before_anybody_is_met(tmp_path: Path) -> None:
    media = MediaOptions(size_px=SIZE_PX, model="no-such-model")
    options = PeerOptions("room", "ws://127.0.0.1:1/ws", media, output=tmp_path / "x.mp4")
    with pytest.raises(ModelError, match="no model 'no-such-model'"):
        await Peer(options, lambda _peer, _now: None).run()


async def test_a_peer_alone_gives_up_waiting(tmp_path: Path) -> None:
    async with SignalingServer() as server:
        options = PeerOptions(
            "room", server.url, CLASSICAL, output=tmp_path / "x.mp4", local=True, wait_s=0.5
        )
        with pytest.raises(CallError, match=r"no other peer came into room room within 0\.5 s"):
            await Peer(options, lambda _peer, _now: None).run()


def test_options_are_checked() -> None:
    with pytest.raises(CallError, match="kbps must be in"):
        MediaOptions(kbps=1)
    with pytest.raises(CallError, match="size must be one of"):
        MediaOptions(size_px=500)
    with pytest.raises(CallError, match="lr-codec must be auto, av1 or vp8"):
        MediaOptions(lr_codec="h264")  # type: ignore[arg-type]
    with pytest.raises(CallError, match="nothing to do"):
        PeerOptions("room", "ws://127.0.0.1:1/ws")
