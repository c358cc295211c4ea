"""A whole call on this machine: a signalling server and two peers in processes of their own.

The peers are `gemino-call --peer`, over UDP on 127.0.0.1. The parent starts them, shows their
status lines, and makes sure that none outlives the call: a peer leaves when its standard input
closes, and is killed when it does not. What each measured comes back as a JSON file.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from gemino.call.options import LoopbackOptions, LoopbackReport, MediaOptions
from gemino.call.pattern import PATTERN_FPS
from gemino.call.recorder import LogRow, write_log
from gemino.call.report import join_logs, loopback_report
from gemino.call.timecode import tally
from gemino.errors import CallError, GeminoError
from gemino.media import probe
from signaling import SignalingServer, StartError

logger = logging.getLogger(__name__)

__all__ = ["LoopbackOptions", "LoopbackReport", "MediaOptions", "run"]

_LEAVE_S = 12.0
"""Longest time for a peer to finish its files before it is killed."""
_MAX_LINE_BYTES = 1 << 16
_MAX_WARNINGS = 20

Status = Callable[[str, str], None]
"""(which peer, its status line)"""


def run(options: LoopbackOptions, status: Status | None = None) -> LoopbackReport:
    """Hold a loopback call to its end; blocks.

    status: called with each peer's name ("sender", "receiver") and status line, once a second.
    Raises a GeminoError where the call fails. Whatever ends it, no process is left.
    """
    fps = Fraction(PATTERN_FPS) if options.clip is None else probe(options.clip).fps
    return asyncio.run(_run(options, fps, status))


async def _run(options: LoopbackOptions, fps: Fraction, status: Status | None) -> LoopbackReport:
    with tempfile.TemporaryDirectory(prefix="gemino-call-") as name:
        folder = Path(name)
        try:
            async with SignalingServer("127.0.0.1", options.port) as server:
                peers = _peers(options, server.url, folder)
                await _supervise(peers, status)
        except StartError as error:
            raise CallError(str(error)) from None
        sent, shown = (_read_rows(peer.folder / "frames.jsonl") for peer in peers)
        frames = join_logs(sent, shown)
        if options.record_lossless is not None:
            write_log(options.record_lossless.with_suffix(".jsonl"), frames)
        sender, receiver = (_read_report(peer) for peer in peers)
        report = loopback_report(options, fps, sender, receiver, frames)
        return replace(
            report,
            glass_to_glass=tally(sent, shown) if options.media.time_code else None,
            warnings=(*peers[0].warnings, *peers[1].warnings),
        )


@dataclass(slots=True)
class _Peer:
    """One child: its name, arguments, folder for what it leaves, process and what it says."""

    name: str
    arguments: list[str]
    folder: Path
    process: asyncio.subprocess.Process | None = None
    error: str = ""
    warnings: list[str] = field(default_factory=list)


def _peers(options: LoopbackOptions, url: str, folder: Path) -> list[_Peer]:
    media = options.media
    shared = ["--peer", secrets.token_hex(8), "--server", url, "--local", "--supervised"]
    shared += ["--kbps", f"{media.kbps:g}", "--size", str(media.size_px)]
    shared += ["--model", media.model or "none", "--lr-codec", media.lr_codec]
    shared += ["--runtime", media.runtime, "--device", media.device]
    shared += ["--fovea"] if media.fovea else []
    shared += ["--time-code"] if media.time_code else []
    sound = ("--audio-kbps", media.sound.kbps), ("--audio-ptime", media.sound.packet_ms)
    shared += [word for name, value in sound if value for word in (name, f"{value:g}")]
    if media.seconds is not None:
        shared += ["--seconds", f"{media.seconds:g}"]
    if options.stats is not None:
        shared += ["--stats", str(options.stats)]
    shared += ["--verbose"] * options.verbosity
    peers = []
    for name in ("sender", "receiver"):
        own = folder / name
        own.mkdir()
        logs = ["--report", str(own / "report.json"), "--frame-log", str(own / "frames.jsonl")]
        peers.append(_Peer(name, [*shared, *logs], own))
    clip = ["--test-pattern"] if options.clip is None else ["--input", str(options.clip)]
    peers[0].arguments += [*clip, *(["--loop"] if options.loop else [])]
    output, lossless = options.output, options.record_lossless
    peers[1].arguments += ["--show"] if options.show else []
    peers[1].arguments += ["--speaker", options.speaker] if options.speaker else []
    if output is None and lossless is None:
        output = folder / "received.mp4"  # a receiver receives into something
    for option, path in (("--output", output), ("--record-lossless", lossless)):
        peers[1].arguments += [option, str(path)] if path is not None else []
    return peers


async def _supervise(peers: list[_Peer], status: Status | None) -> None:
    """Run both peers to their ends; raises CallError for the first that fails."""
    watches = []
    try:
        for peer in peers:
            peer.process = await _start(peer)
            watches.append(asyncio.create_task(_watch(peer, peer.process, status)))
        pending = set(watches)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() for task in done):
                break
    finally:
        await asyncio.shield(asyncio.gather(*(_end(peer) for peer in peers)))
        await asyncio.gather(*watches, return_exceptions=True)
    # A peer that fails takes the other one with it: tell of the first cause, not of its echo.
    failed = [peer for peer in peers if peer.process is not None and peer.process.returncode]
    if failed:
        own = [peer for peer in failed if peer.error and "other peer" not in peer.error]
        raise CallError(_why((own or failed)[0]))


def _why(peer: _Peer) -> str:
    assert peer.process is not None
    code = peer.process.returncode or 0
    if peer.error:
        logger.debug("the %s ended the call", peer.name)
        return peer.error
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"the {peer.name} process {how}"


async def _start(peer: _Peer) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gemino.cli.call",
        *peer.arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,  # Ctrl-C in a terminal is ours to pass on
        # An inference thread that spins while it waits starves the other process.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )


async def _watch(peer: _Peer, process: asyncio.subprocess.Process, status: Status | None) -> int:
    """Read what a peer tells, up to its end; returns its exit code."""
    assert process.stderr is not None
    with contextlib.suppress(ValueError):  # a line without end: nothing that a peer says
        while line := (await process.stderr.readline()).decode("utf-8", "replace").rstrip():
            kind, _, text = line.partition(": ")
            if kind == "error":
                peer.error = text
            elif kind == "warning" and len(peer.warnings) < _MAX_WARNINGS:
                peer.warnings.append(f"{peer.name}: {text}")
            elif kind in ("info", "debug"):
                logger.log(logging.getLevelNamesMapping()[kind.upper()], "%s: %s", peer.name, text)
            elif kind == "status" and status is not None:
                status(peer.name, text)
    await process.stderr.read()
    return await process.wait()


async def _end(peer: _Peer) -> None:
    """See to it that the peer's process is gone; first by asking."""
    process = peer.process
    if process is None or process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _LEAVE_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _read_report(peer: _Peer) -> dict[str, Any]:
    try:
        report = json.loads((peer.folder / "report.json").read_text())
    except (OSError, ValueError) as error:
        raise CallError(f"the {peer.name} process left no report: {error}") from error
    if not isinstance(report, dict):
        raise CallError(f"the {peer.name} process left a report that is none")
    return report


def _read_rows(path: Path) -> list[LogRow]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise GeminoError(f"a peer left no log of its frames: {error}") from error
