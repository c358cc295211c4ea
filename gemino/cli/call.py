"""`gemino-call`: a call over WebRTC, between two machines or two processes on this one."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from gemino.call import loopback
from gemino.call.options import (
    DEFAULT_MODEL,
    LoopbackOptions,
    LoopbackReport,
    MediaOptions,
    PeerOptions,
)
from gemino.call.peer import Interrupted, Peer
from gemino.call.recorder import write_log
from gemino.call.report import peer_report
from gemino.call.stats import Meter, w3c
from gemino.errors import CallError, GeminoError, MediaError

_EXAMPLES = """A neural video call over WebRTC.

A small VP8 stream and now and then one sharp picture cross the network; the receiver rebuilds
the full-size video from both.

Examples:

  gemino-call --loopback samples/webcam.mp4 -o received.mp4

  gemino-call --loopback clip.mp4 --kbps 20 --size 1024 --json

  python -m signaling --host 0.0.0.0 --port 8765        (a meeting place, on any machine)

  gemino-call --peer ROOM --server ws://HOST:8765/ws --input clip.mp4

  gemino-call --peer ROOM --server ws://HOST:8765/ws -o received.mp4
"""
_FAILED, _INTERRUPTED = 2, 130

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help=_EXAMPLES)
def call(
    loopback_clip: Annotated[
        Path | None,
        typer.Option("--loopback", metavar="CLIP", help="Call between two processes here."),
    ] = None,
    peer: Annotated[
        str | None, typer.Option("--peer", metavar="ROOM", help="Be one peer, in this room.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Signalling server, ws://HOST:PORT/ws.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option("--input", metavar="CLIP", help="Send this clip.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write what is received: .mp4, .mkv."),
    ] = None,
    kbps: Annotated[
        float, typer.Option(help="Video payload, references included; sound adds 6 to 8.")
    ] = 15.0,
    size: Annotated[
        int, typer.Option(help="Side of the rebuilt picture: 256, 512, 768 or 1024 px.")
    ] = 512,
    model: Annotated[
        str, typer.Option(help="Network that rebuilds: a name, a folder, or none.")
    ] = DEFAULT_MODEL,
    seconds: Annotated[float | None, typer.Option(help="End after so much of the clip.")] = None,
    stats: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append statistics: a JSON line a second and peer."),
    ] = None,
    record_lossless: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mkv",
            help="Every shown frame, bit for bit; with --loopback also FILE.jsonl, which names"
            " the source frame of each.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of --loopback's server; 0: a free one.")
    ] = 0,
    report: Annotated[Path | None, typer.Option(hidden=True)] = None,
    frame_log: Annotated[Path | None, typer.Option(hidden=True)] = None,
    local: Annotated[
        bool, typer.Option(help="With --peer: both peers are here, use 127.0.0.1 alone.")
    ] = False,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    with _one_line_errors():
        network = None if model == "none" else model
        media = MediaOptions(kbps, size, network, seconds)
        if (loopback_clip is None) == (peer is None):
            raise CallError("give either --loopback CLIP or --peer ROOM; see --help")
        _check_outputs(output, record_lossless)
        if loopback_clip is not None:
            options = LoopbackOptions(loopback_clip, media, output, record_lossless, stats, port)
            _loopback(options, as_json)
            return
        if server is None or peer is None:
            raise CallError("--peer needs --server ws://HOST:PORT/ws; python -m signaling runs one")
        _peer(
            PeerOptions(
                room=peer,
                server_url=server,
                media=media,
                clip=clip,
                output=output,
                lossless=record_lossless,
                frame_log=frame_log,
                stats=stats,
                local=local,
                supervised=supervised,
            ),
            report,
            as_json,
        )


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """GeminoError: one line and exit code 2. Ctrl-C: 130."""
    try:
        yield
    except GeminoError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(_FAILED) from None
    except (KeyboardInterrupt, Interrupted):
        raise typer.Exit(_INTERRUPTED) from None


def _check_outputs(output: Path | None, lossless: Path | None) -> None:
    """Say now, not after the call, that a file cannot be written."""
    for path, kinds in ((output, (".mp4", ".mkv")), (lossless, (".mkv",))):
        if path is None:
            continue
        if path.suffix not in kinds:
            raise MediaError(f"{path}: cannot write this kind of file; name it {kinds[0]}")
        if not path.parent.is_dir():
            raise MediaError(f"{path}: there is no folder {path.parent}; make it first")


class _Screen:
    """Status lines: kept up to date on a terminal, now and then in a log, marked for a parent."""

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

    def show(self, name: str, line: str) -> None:
        """`line` is what there is to say of `name` now."""
        now = time.monotonic()
        self._lines[name] = line
        if self._supervised:
            sys.stderr.write(f"status: {line}\n")
            sys.stderr.flush()
        elif self._live is not None:
            text = "\n".join(f"{name:<9}{line}" for name, line in self._lines.items())
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif now - self._printed.get(name, -self._EVERY_S) >= self._EVERY_S:
            self._printed[name] = now
            typer.echo(f"{name:<9}{line}", err=True)


def _loopback(options: LoopbackOptions, as_json: bool) -> None:
    with _Screen() as screen:
        report = loopback.run(options, screen.show)
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
            f" (LR {report.lr_kbps:.1f} at {report.lr_px} px, references"
            f" {report.reference_kbps:.1f}), sound {report.audio_kbps:.1f},"
            f" on the wire {report.onwire_kbps:.1f}"
        ),
        (
            f"  {report.frames_shown} of {report.frames_in_clip} frames shown ({shown:.1f} %),"
            f" {report.fps_shown:.1f} fps, {report.frames_neural} of them neural"
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
    if report.output is not None:
        lines.append(f"  see {report.output}")
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _peer(options: PeerOptions, report_path: Path | None, as_json: bool) -> None:
    with _Screen(supervised=options.supervised) as screen:
        report = asyncio.run(_run_peer(options, report_path, screen))
    if as_json:
        typer.echo(json.dumps(report))


async def _run_peer(
    options: PeerOptions, report_path: Path | None, screen: _Screen
) -> dict[str, Any]:
    with _StatsFile(options.stats) as stats:
        peer = Peer(options, _teller(screen, stats))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # no such handlers on Windows
                loop.add_signal_handler(number, peer.stop)
        if options.supervised:
            _stop_with_parent(loop, peer.stop)
        try:
            await peer.run()
        finally:
            frame_s = 1 / float(peer.fps)
            report = peer_report(peer.outgoing, peer.incoming, frame_s)
            _write_results(options, peer, report, report_path)
    return report


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
            self._file = None if path is None else path.open("a", encoding="utf-8")
        except OSError as error:
            raise MediaError(f"{path}: cannot be written ({error.strerror})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()


def _teller(screen: _Screen, stats: _StatsFile) -> Callable[[Peer, float], None]:
    """What to do with a peer's counters once a second."""
    meters = {"send": Meter(), "receive": Meter()}

    def tell(peer: Peer, now: float) -> None:
        size_px = peer.options.media.size_px
        for name, half in (("send", peer.outgoing), ("receive", peer.incoming)):
            if half is None:
                continue
            sends = name == "send"
            screen.show(
                name, meters[name].line(half.counters, sends=sends, size_px=size_px, now=now)
            )
            stats.write(w3c(half.counters, sends=sends, now=time.time()))

    return tell


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` when standard input closes: the parent asks, or is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 256):  # not sys.stdin: its lock would outlive us
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def main() -> None:
    """The command `gemino-call`."""
    app()


if __name__ == "__main__":
    main()
