"""Holds a call on this machine for minutes, and says what it does to memory, pace and delay.

    python scripts/soak.py --minutes 20
    python scripts/soak.py --minutes 5 --size 1024 --clip samples/address.mp4 --json out/soak.json

Linux only. Two peers in processes of their own, as in `gemino-call --loopback CLIP --loop`, with a
time code in the pictures. Every five seconds it reads the resident memory of both and the pictures
that the receiver has shown. Prints a line a minute, and at the end the slope of each peer's memory
(least squares, from the second minute on), pictures a second, and how much longer delay takes in
the last minute than in the second.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from gemino.call import loopback
from gemino.call.options import LoopbackOptions, LoopbackReport, MediaOptions
from gemino.cli.edge import guard

_EVERY_S = 5.0
_SETTLED_S = 60.0
"""Models load, references come, and programs are recorded before that."""


def main() -> None:
    """Read the options, hold the call, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the call")
    parser.add_argument("--clip", type=Path, default=Path("samples/webcam.mp4"), help="in a loop")
    parser.add_argument("--size", type=int, default=512, help="side of the picture in px")
    parser.add_argument("--kbps", type=float, default=15.0, help="video payload")
    parser.add_argument("--model", default="generic-s", help="name, folder, or none")
    parser.add_argument("--json", type=Path, help="write all that was seen there")
    asked = parser.parse_args()
    media = MediaOptions(
        asked.kbps, asked.size, asked.model, seconds=60 * asked.minutes, time_code=True
    )
    found = soak(asked.clip, media)
    print(json.dumps({name: value for name, value in found.items() if name != "rows"}, indent=1))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def soak(clip: Path, media: MediaOptions) -> dict[str, Any]:
    """Hold the call; rows of what was seen, and what they come to. Raises GeminoError."""
    ended = threading.Event()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="gemino-soak-") as name:
        stats = Path(name) / "stats.jsonl"
        watch = threading.Thread(target=_watch, args=(ended, stats, rows), daemon=True)
        watch.start()
        try:
            report = loopback.run(LoopbackOptions(clip, media, stats=stats, loop=True))
        finally:
            ended.set()
            watch.join()
    return {**summary(rows, report), "rows": rows}


def summary(rows: list[dict[str, float]], report: LoopbackReport) -> dict[str, Any]:
    """Slopes in MB a minute, and drifts, of rows a few seconds apart."""
    settled = [row for row in rows if row["s"] >= _SETTLED_S]
    minutes = [row["s"] / 60 for row in settled]
    found: dict[str, Any] = {
        "minutes": round(report.seconds / 60, 2),
        "size_px": report.size,
        "model": report.model,
        "runtime": report.runtime,
        "keeping_up": report.keeping_up,
        "frames_shown": report.frames_shown,
        "fps_shown": report.fps_shown,
        "glass_to_glass_ms": (report.glass_to_glass or {}).get("ms"),
        "peak_rss_mb": report.peak_rss_mb,
    }
    if len(settled) < 2:
        return found
    for name in ("sender_mb", "receiver_mb"):
        slope = float(np.polyfit(minutes, [row[name] for row in settled], 1)[0])
        found[f"{name}_a_minute"] = round(slope, 3)
    begin, end = (
        median(row["latency_ms"] for row in some)
        for some in (settled[: _per_minute()], settled[-_per_minute() :])
    )
    found["latency_drift_ms"] = round(end - begin, 1)
    return found


def _per_minute() -> int:
    return round(60 / _EVERY_S)


def _watch(ended: threading.Event, stats: Path, rows: list[dict[str, float]]) -> None:
    started, said_s = time.monotonic(), 0.0
    while not ended.wait(_EVERY_S):
        memory, latest = _memory(), _latest(stats)
        if len(memory) < 2 or latest is None:
            continue
        now = time.monotonic() - started
        row = {"s": round(now, 1), **memory}
        row["shown"] = float(latest["framesRendered"])
        row["latency_ms"] = float(latest["geminoLatencyMs"])
        rows.append(row)
        if now - said_s >= 60:
            said_s = now
            print(
                f"{now / 60:5.1f} min: sender {row['sender_mb']:.0f} MB, receiver "
                f"{row['receiver_mb']:.0f} MB, {row['shown']:.0f} pictures shown, "
                f"latency {row['latency_ms']:.0f} ms",
                flush=True,
            )


def _memory() -> dict[str, float]:
    """Resident memory of the two peers, our children, in MB (10^6 bytes)."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            folder = Path("/proc") / child
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                resident = int((folder / "statm").read_text().split()[1])
            except (OSError, IndexError):  # it has just ended
                continue
            if b"gemino.cli.call" in words:
                name = "sender_mb" if b"--input" in words else "receiver_mb"
                found[name] = round(resident * 4096 / 1e6, 2)
    return found


def _latest(stats: Path) -> dict[str, Any] | None:
    """The receiver's last line."""
    try:
        lines = stats.read_text().splitlines()
    except OSError:
        return None
    for line in reversed(lines[-8:]):
        entry: dict[str, Any] = json.loads(line)
        if "framesRendered" in entry:
            return entry
    return None


if __name__ == "__main__":
    guard(main)
