"""Hold a long call between two network namespaces, and say what it does to memory, pace and sync.

    sudo .venv/bin/python scripts/soak_over_link.py samples/address.mp4 --minutes 30

Needs root and Linux, as `call_over_link.py`, whose link it uses. One peer sends a clip with speech
in a loop, the other one shows it on a screen that notes what it is given when, and plays it on a
sound card without hardware, as in `measure_lip_sync.py`; of both it keeps the first and the last
minute. Every five seconds the resident memory and the CPU time of both processes are read.

Prints one JSON object: the slope of each peer's memory (least squares, without the first minute,
MB of 10^6 bytes), its share of one core, by how much sound is ahead of the picture in the first
and in the last minute, how much sound was made up (pauses, and what was lost), how many pictures
were sent, shown and lost, and what was on the wire.
"""

import argparse
import asyncio
import json
import math
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from call_over_link import ADDRESSES, PORT, Wire, start, start_server, wait_for_line, wired
from measure_lip_sync import NotingScreen, SilentCard, live_offsets, summary

from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import SAMPLE_RATE_HZ
from gemino.call.peer import Peer
from gemino.call.report import peer_report
from gemino.call.speaker import Speaker
from gemino.errors import GeminoError
from gemino.media import length_s

_EVERY_S = 5.0
_SETTLED_S = 60.0
"""Models load, references come, and programs are recorded before that."""
_KEPT_S = 60.0
_REACH = 800
"""Two seconds to either side, in steps of 2.5 ms: a call that is out of step shows it."""
_NOTES = round(_KEPT_S * 60)
"""More than there are blocks of sound or pictures in that time."""
_TICKS_S = 100.0
"""Of /proc/PID/stat: USER_HZ is 100 wherever Linux runs."""

Note = TypeVar("Note")


async def receive(asked: argparse.Namespace) -> None:
    """Be the peer that shows and plays, and write what was measured to `asked.receive`."""
    card, screen = SilentCard(), NotingScreen()
    model = None if asked.model == "none" else asked.model
    media = MediaOptions(kbps=asked.kbps, size_px=asked.size, model=model)
    speaker = Speaker(card=card)
    options = PeerOptions(
        room="soak",
        server_url=f"ws://{ADDRESSES[0]}:{PORT}/ws",
        media=media,
        displays=(screen,),
        speaker=speaker,
    )

    def forget(_peer: Peer, _now: float) -> None:
        """Nobody asks for what lies before the first and the last minute of pictures."""
        began_s = screen.shown[0][0] if screen.shown else math.inf
        early = bisect_left(card.played, began_s, key=lambda one: one[0])
        del card.played[: max(early - 1, 0)]
        keep_ends(card.played)
        keep_ends(screen.shown)

    peer = Peer(options, forget, lambda: print("waiting", file=sys.stderr, flush=True))
    try:
        await peer.run()
    finally:
        speaker.close()
    period_s = round(length_s(asked.clip) * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sync = {name: in_step(asked.clip, period_s, card, screen, name) for name in ("first", "last")}
    report = peer_report(peer.outgoing, peer.incoming)["received"]
    made_up_s = speaker.playout.made_up / SAMPLE_RATE_HZ
    found = {"sync": sync, "received": report, "sound_made_up_s": round(made_up_s, 2)}
    asked.receive.write_text(json.dumps(found))


def keep_ends(notes: list[Note]) -> None:
    """Leave of a long list what is at its ends; others may append meanwhile."""
    if len(notes) > 3 * _NOTES:
        del notes[_NOTES:-_NOTES]


def in_step(
    clip: Path, period_s: float, card: SilentCard, screen: NotingScreen, which: str
) -> dict[str, float]:
    """By how much sound is ahead of pictures in the first or in the last minute."""
    last_s = screen.shown[-1][0]
    until_s = screen.shown[0][0] + _KEPT_S if which == "first" else last_s
    since_s = until_s - _KEPT_S
    played = [one for one in card.played if since_s <= one[0] < until_s]
    shown = [(at_s, media_s % period_s) for at_s, media_s in screen.shown if since_s <= at_s]
    return summary(list(live_offsets(clip, played, shown, _REACH)))


def hold(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The call, and what came of it."""
    logs = {"sender": folder / "sender.json", "receiver": folder / "receiver.json"}
    shared = ["--kbps", f"{asked.kbps:g}", "--size", str(asked.size), "--model", asked.model]
    with wired(asked.name, asked.rtt_ms, asked.loss) as (spaces, wire):
        server = start_server(spaces[0])
        processes = {"server": server}
        try:
            wait_for_line(server, server.stdout, "listening")
            own = ["--receive", str(logs["receiver"])]
            receiver = start(spaces[1], __file__, str(asked.clip), *shared, *own)
            processes["receiver"] = receiver
            wait_for_line(receiver, receiver.stderr, "waiting")
            words = ["-m", "gemino.cli.call", "--peer", "soak", "--input", str(asked.clip)]
            words += ["--loop", "--seconds", f"{60 * asked.minutes:g}", *shared]
            words += ["--server", f"ws://{ADDRESSES[0]}:{PORT}/ws"]
            sender = start(spaces[0], *words, "--report", str(logs["sender"]))
            processes["sender"] = sender
            rows = watch({"sender": sender, "receiver": receiver}, wire)
        finally:
            for process in processes.values():
                if process.poll() is None:
                    process.terminate()
                process.communicate()
    reports = {name: json.loads(path.read_text()) for name, path in logs.items()}
    return figures(asked, rows, reports, wire)


def watch(
    processes: dict[str, "subprocess.Popen[str]"], wire: Wire
) -> dict[str, list[tuple[float, float, float]]]:
    """Until both have ended: when, resident MB, and seconds of CPU time, of each.

    Where one fails, ends the program with what it said last.
    """
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in processes}
    words: dict[str, deque[str]] = {name: deque(maxlen=1) for name in processes}
    for name, process in processes.items():  # a pipe that is full would hold up who writes to it
        listen = words[name].extend
        threading.Thread(target=listen, args=(process.stderr,), daemon=True).start()
    began = said = time.monotonic()
    while any(process.poll() is None for process in processes.values()):
        time.sleep(_EVERY_S if time.monotonic() - began > _EVERY_S else 0.5)
        now = time.monotonic()
        for name, process in processes.items():
            if (used := usage(process.pid)) is not None:
                rows[name].append((now - began, *used))
        if now - said >= 60:
            said = now
            sizes = ", ".join(f"{name} {rows[name][-1][1]:.0f} MB" for name in processes)
            minute, kbps = (now - began) / 60, wire.sent[0].kbps()
            print(f"{minute:5.1f} min: {sizes}, {kbps:.1f} kbps", file=sys.stderr, flush=True)
    for name, process in processes.items():
        if process.returncode:
            sys.exit(f"error: {name}: {''.join(words[name]).strip()}")
    return rows


def usage(pid: int) -> tuple[float, float] | None:
    """Resident memory in MB and CPU seconds of a process; None where it has ended."""
    folder = Path("/proc") / str(pid)
    try:
        resident = int((folder / "statm").read_text().split()[1])
        words = (folder / "stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return None
    if not resident:
        return None
    return resident * 4096 / 1e6, (int(words[11]) + int(words[12])) / _TICKS_S


def figures(
    asked: argparse.Namespace,
    rows: dict[str, list[tuple[float, float, float]]],
    reports: dict[str, Any],
    wire: Wire,
) -> dict[str, Any]:
    sent, received = reports["sender"]["sent"], reports["receiver"]["received"]
    there, back = wire.sent
    return {
        "minutes": round(sent["seconds"] / 60, 2),
        "rtt_ms": asked.rtt_ms,
        "loss": asked.loss,
        "size_px": asked.size,
        "model": received["model"],
        "keeping_up": received["keeping_up"],
        "processes": {name: slopes(some) for name, some in rows.items()},
        "sound_ahead_ms": reports["receiver"]["sync"],
        "sound_made_up_s": reports["receiver"]["sound_made_up_s"],
        "frames_sent": sent["frames"],
        "frames_late_at_the_sender": sent["frames_dropped"],
        "frames_shown": received["frames"],
        "frames_not_shown": received["frames_dropped"],
        "packets_lost_for_good": received["packets_lost"],
        "sound_packets_lost": received["audio_packets_lost"],
        "payload_kbps": sent["payload_kbps"],
        "audio_kbps": sent["audio_kbps"],
        "onwire_kbps": there.kbps(),
        "onwire_back_kbps": back.kbps(),
        "onwire_by_kind_kbps": there.by_kind(),
    }


def slopes(rows: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    """Memory and CPU time of one process."""
    if len(rows) < 2:
        return {}
    (first_s, _, before_s), (last_s, _, after_s) = rows[0], rows[-1]
    found = {
        "peak_mb": round(max(megabytes for _, megabytes, _ in rows), 1),
        "cpu_share": round((after_s - before_s) / max(last_s - first_s, 1e-3), 3),
    }
    settled = [(at_s / 60, megabytes) for at_s, megabytes, _ in rows if at_s >= _SETTLED_S]
    if len(settled) > 2:
        minutes, sizes = zip(*settled, strict=True)
        slope = float(np.polyfit(minutes, sizes, 1)[0])
        found["mb_a_minute"] = round(slope, 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rtt-ms", type=float, default=50.0)
    parser.add_argument("--loss", type=float, default=0.0, help="share of UDP packets, 0..1")
    parser.add_argument("--kbps", type=float, default=15.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--model", default="generic-s")
    random_name = f"gemino-{secrets.token_hex(2)}-"
    parser.add_argument("--name", default=random_name, help="of namespaces and devices, 13 letters")
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.receive is not None:
        try:
            asyncio.run(receive(asked))
        except GeminoError as error:
            sys.exit(f"error: {error}")
        return
    with tempfile.TemporaryDirectory(prefix="gemino-soak-") as name:
        print(json.dumps(hold(asked, Path(name)), indent=1))


if __name__ == "__main__":
    main()
