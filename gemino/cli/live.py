"""How `gemino-call` runs a call and what it shows meanwhile."""

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from gemino.call import loopback
from gemino.call.movie import CallMovie
from gemino.call.options import LoopbackOptions, LoopbackReport, PeerOptions
from gemino.call.peer import Interrupted, Peer
from gemino.call.recorder import write_log
from gemino.call.report import peer_report
from gemino.call.stats import Meter, w3c
from gemino.cli import browser, keys, logs, outputs, panel
from gemino.cli.meeting import OwnServer, hosted, invitation
from gemino.cli.signals import on_stop
from gemino.errors import MediaError

logger = logging.getLogger(__name__)


class _Screen:
    """Status lines: kept up to date on a terminal, now and then in a log, marked for a parent.

    live: it is a terminal, which can show more than lines (`draw`).
    """

    _EVERY_S = 5.0

    def __init__(self, *, supervised: bool = False) -> None:
        self._supervised = supervised
        self._lines: dict[str, str] = {}
        self._printed: dict[str, float] = {}
        console = Console(stderr=True)
        self._live = None
        if console.is_terminal and not supervised:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def live(self) -> bool:
        return self._live is not None

    def draw(self, what: RenderableType) -> None:
        """Show `what` in place of what stands there."""
        if self._live is not None:
            self._live.update(what, refresh=True)

    def show(self, name: str, line: str) -> None:
        """`line` is what there is to say of `name` now."""
        now = time.monotonic()
        self._lines[name] = line
        if self._supervised:
            sys.stderr.write(f"status: {line}\n")
            sys.stderr.flush()
        elif self._live is not None:
            self._live.update(panel.lines(self._lines), refresh=True)
        elif now - self._printed.get(name, -self._EVERY_S) >= self._EVERY_S:
            self._printed[name] = now
            typer.echo(f"{name:<9}{line}", err=True)


def run_loopback(options: LoopbackOptions, *, as_json: bool) -> None:
    """Hold a loopback call and print its report."""
    with _Screen() as screen:
        logs.say(options.verbosity)
        report = loopback.run(options, screen.show)
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        typer.echo(_summary(report))


def _summary(report: LoopbackReport) -> str:
    shown = 100 * report.frames_shown / max(report.frames_in_clip, 1)
    latency, synthesis = report.latency_ms, report.synthesize_ms
    lines = [
        f"{report.clip}: {report.seconds:.1f} s at {report.size} px with {report.model}",
        (
            f"  payload {report.payload_kbps:.1f} kbps"
            f" (LR {report.lr_kbps:.1f} of {report.lr_codec} at {report.lr_px} px, references"
            f" {report.reference_kbps:.1f}), sound {report.audio_kbps:.1f},"
            f" on the wire {report.onwire_kbps:.1f}"
        ),
        (
            f"  {report.frames_shown} of {report.frames_in_clip} frames shown ({shown:.1f} %),"
            f"{_between(report)} {report.fps_shown:.1f} fps, {report.frames_neural} neural"
            f" ({report.frames_neural - report.frames_carried} drawn)"
        ),
        (
            f"  capture to shown {_ms(latency['p50'])} (p95 {_ms(latency['p95'])}),"
            f" rebuilding {_ms(synthesis['p50'])} (p95 {_ms(synthesis['p95'])})"
        ),
        (
            f"  peak memory: sender {report.peak_rss_mb['sender']:.0f} MB,"
            f" receiver {report.peak_rss_mb['receiver']:.0f} MB"
        ),
    ]
    if report.glass_to_glass is not None:
        lines.append(_glass(report.glass_to_glass))
    if report.keeping_up:
        lines.append(f"  to keep up on this machine: {report.keeping_up}")
    if report.output is not None:
        lines.append(f"  see {report.output}")
    return "\n".join(lines)


def _between(report: LoopbackReport) -> str:
    made = report.frames_interpolated
    return f" {made} more made between them," if made else ""


def _glass(said: dict[str, Any]) -> str:
    times = said["ms"]
    return (
        f"  glass to glass {_ms(times['p50'])} (p95 {_ms(times['p95'])}, p99"
        f" {_ms(times['p99'])}) by the time code of {said['read']} of {said['shown']} pictures;"
        f" {said['late']} older than they claim, {said['wrong']} wrong,"
        f" {said['unreadable']} unreadable"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def run_peer(
    options: PeerOptions,
    own: OwnServer | None,
    report_path: Path | None,
    *,
    as_json: bool,
    verbosity: int = 0,
) -> None:
    """Be one peer of a call; raises KeyboardInterrupt where it was stopped.

    own: the signalling server to run for the time of the call; None for the one in `options`.
    verbosity: of what is told beside the call's state (`logs.say`).
    """
    with _Screen(supervised=options.supervised) as screen:
        logs.say(verbosity)
        report, interrupted = asyncio.run(_run_peer(options, own, report_path, screen))
    if as_json:
        typer.echo(json.dumps(report))
    if interrupted:
        raise KeyboardInterrupt


async def _run_peer(
    options: PeerOptions, own: OwnServer | None, report_path: Path | None, screen: _Screen
) -> tuple[dict[str, Any], bool]:
    """The report, and whether somebody has ended the call before its time."""
    interrupted = False
    async with contextlib.AsyncExitStack() as stack:
        stats = stack.enter_context(_StatsFile(options.stats))
        if own is not None:
            options = await stack.enter_async_context(hosted(options, own))
        peer = Peer(options, _teller(screen, stats), lambda: _tell_waiting(options, own))
        loop = asyncio.get_running_loop()
        outputs.steer(peer, loop)
        browser.tell(peer, loop)
        if not options.supervised and stack.enter_context(keys.listening(peer, loop)):
            typer.echo(keys.HELP, err=True)
        on_stop(peer.stop)
        if options.supervised:
            _stop_with_parent(loop, peer.stop)
        try:
            await peer.run()
        except Interrupted:
            interrupted = True
        finally:
            report = peer_report(peer.outgoing, peer.incoming) | peer.setup()
            _write_results(options, peer, report, report_path)
        if not options.supervised and report["connect_s"] is not None:
            _tell_end(options)
    return report, interrupted


def _tell_waiting(options: PeerOptions, own: OwnServer | None) -> None:
    if options.supervised:
        return
    typer.echo(f"waiting for the other side in room {options.room} (Ctrl-C ends)", err=True)
    if own is None:
        typer.echo(f"which runs:\n\n  {invitation(options, options.server_url)}\n", err=True)


def _tell_end(options: PeerOptions) -> None:
    """Say that the call is over, and which films it has left."""
    movies = [shown.path for shown in options.displays if isinstance(shown, CallMovie)]
    films = [path for path in (options.output, options.lossless, *movies) if path and path.exists()]
    see = f"; see {', '.join(map(str, films))}" if films else ""
    typer.echo(f"the call has ended{see}", err=True)


def _write_results(
    options: PeerOptions, peer: Peer, report: dict[str, Any], report_path: Path | None
) -> None:
    half = peer.outgoing or peer.incoming
    if options.frame_log is not None and half is not None:
        write_log(options.frame_log, half.frame_log())
    if report_path is not None:
        report_path.write_text(json.dumps(report))


class _StatsFile:
    """Appends a JSON line whole, so that two peers can share the file."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._file = None if path is None else path.open("ab", buffering=0)
        except OSError as error:
            raise MediaError(f"{path}: cannot be written ({error.strerror})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(row).encode() + b"\n")
        except OSError as error:
            why = error.strerror
            logger.warning("statistics are not written any more, the call goes on: %s", why)
            self._file.close()
            self._file = None


def _teller(screen: _Screen, stats: _StatsFile) -> Callable[[Peer, float], None]:
    """What to do with a peer's counters once a second."""
    meters = {"send": Meter(), "receive": Meter()}
    began_s: float | None = None

    def tell(peer: Peer, now: float) -> None:
        nonlocal began_s
        size_px = peer.options.media.size_px
        for name, half in (("send", peer.outgoing), ("receive", peer.incoming)):
            if half is None:
                continue
            sends = name == "send"
            line = meters[name].line(half.counters, sends=sends, size_px=size_px, now=now)
            if not screen.live:
                screen.show(name, line)
            if not sends:
                outputs.entitle(peer, meters[name].rates.wire)
            stats.write(w3c(half.counters, sends=sends, now=time.time()))
        if screen.live:
            began_s = now if began_s is None else began_s
            screen.draw(panel.render(panel.view(peer, meters, now - began_s), now))

    return tell


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` when standard input closes: the parent asks, or is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 256):  # not sys.stdin: its lock would outlive us
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=wait, name="parent", daemon=True).start()
