"""How far apart sound and picture of one moment are heard and seen.

    python scripts/measure_lip_sync.py
    python scripts/measure_lip_sync.py --clip clip.mp4 --size 1024 --kbps 25

A child sends a clip with speech, over UDP on 127.0.0.1; this process receives it, shows it on a
screen that notes what it is given when, plays it on a sound card without hardware that takes blocks
of 20 ms at 48 kHz and keeps them, and records it. Each second of what was played and of what was
recorded is then looked for in the clip's own sound, by its envelope in steps of 2.5 ms. Positive:
sound is ahead of the picture. What a real card and screen add is not in it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gemino.call.display import ShownFrame
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.opus import SAMPLE_RATE_HZ, Samples
from gemino.call.peer import Peer
from gemino.call.soundcard import Deliver, Direction, Pull, SoundDevice
from gemino.call.speaker import Speaker
from gemino.cli.edge import guard
from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.media import read_audio, read_frames
from signaling import SignalingServer

_BLOCK = 960
_STEP, _STEP_S = 120, 0.0025
_WINDOW = SAMPLE_RATE_HZ // _STEP
_REACH = 160
"""Steps to either side in which a second is looked for: 0.4 s."""
_CLEAR = 0.7
"""A correlation below says nothing: nobody speaks, or the same is said again."""
_ROOM = "lip-sync"


class SilentCard:
    """A loudspeaker without hardware; `played` has each block and when it began to sound."""

    def __init__(self) -> None:
        self.played: list[tuple[float, Samples]] = []
        self._closed = threading.Event()

    def devices(self, direction: Direction) -> list[SoundDevice]:
        return [SoundDevice("silent", "none", is_default=True)] if direction == "output" else []

    def record(self, name: str | None, deliver: Deliver) -> "SilentCard":  # noqa: ARG002
        raise MediaError("this card has no microphone")

    def play(self, name: str | None, pull: Pull) -> "SilentCard":  # noqa: ARG002 - there is one
        threading.Thread(target=self._run, args=(pull,), daemon=True).start()
        return self

    def alive(self) -> bool:
        return not self._closed.is_set()

    def close(self) -> None:
        self._closed.set()

    def _run(self, pull: Pull) -> None:
        due = time.monotonic()
        while not self._closed.is_set():
            due += _BLOCK / SAMPLE_RATE_HZ
            time.sleep(max(due - time.monotonic(), 0))
            self.played.append((due, pull(_BLOCK, max(due - time.monotonic(), 0))))


class NotingScreen:
    """A display; `shown` has when each picture came, and its time in the clip."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, float]] = []

    def show(self, shown: ShownFrame) -> None:
        self.shown.append((time.monotonic(), shown.media_time_s))

    def show_self(self, frame: Frame, taken_s: float) -> None:
        """Nothing is sent."""

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--clip", type=Path, default=Path("samples/address.mp4"), help="with speech"
    )
    parser.add_argument("--size", type=int, default=512, help="side of the picture in px")
    parser.add_argument("--kbps", type=float, default=15.0, help="video payload")
    parser.add_argument("--model", default="generic-s", help="name, folder, or none")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    asked = parser.parse_args()
    card, screen = SilentCard(), NotingScreen()
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "received.mp4"
        asyncio.run(hold_call(asked, recording, card, screen))
        live = list(live_offsets(asked.clip, card.played, screen.shown))
        recorded = list(recorded_offsets(asked.clip, recording))
    figures = {"live": summary(live), "recorded": summary(recorded), "pictures": len(screen.shown)}
    if asked.json:
        print(json.dumps(figures))
        return
    for name in ("live", "recorded"):
        print(f"{name:9}{figures[name]}")


async def hold_call(
    asked: argparse.Namespace, recording: Path, card: SilentCard, screen: NotingScreen
) -> None:
    """From the child's start to its Bye."""
    model = None if asked.model == "none" else asked.model
    media = MediaOptions(kbps=asked.kbps, size_px=asked.size, model=model)
    speaker = Speaker(card=card)
    async with SignalingServer("127.0.0.1", 0) as server:
        command = [sys.executable, "-m", "gemino.cli.call", "--peer", _ROOM, "--local"]
        command += ["--server", server.url, "--input", str(asked.clip), "--size", str(asked.size)]
        command += ["--kbps", str(asked.kbps), "--model", asked.model]
        quiet = asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
        options = PeerOptions(
            room=_ROOM,
            server_url=server.url,
            media=media,
            output=recording,
            local=True,
            displays=(screen,),
            speaker=speaker,
        )
        try:
            await Peer(options, lambda _peer, _now: None).run()
        finally:
            speaker.close()
            await asyncio.wait_for(child.wait(), 30)


def live_offsets(
    clip: Path,
    played: list[tuple[float, Samples]],
    shown: list[tuple[float, float]],
    reach: int = _REACH,
) -> Iterator[float]:
    """Seconds by which sound is ahead, twice a second of what was played.

    reach: steps of 2.5 ms to either side in which it is looked for.
    """
    sound = np.concatenate([samples for _, samples in played])
    began_s = played[0][0]
    shown_s, media_s = np.array(shown).T

    def seen(at_s: float) -> float | None:
        """The time in the clip that is on the screen then; a picture stays until the next."""
        at = int(np.searchsorted(shown_s, began_s + at_s)) - 1
        if not 0 <= at < len(shown_s) - 1:
            return None
        return float(media_s[at] + began_s + at_s - shown_s[at])

    return offsets(sound, clip, seen, reach)


def recorded_offsets(clip: Path, recording: Path) -> Iterator[float]:
    """The same of a recording, whose pictures are where the clip's are."""
    first_s = next(read_frames(recording)).time_s
    sound = np.concatenate(list(read_audio(recording, SAMPLE_RATE_HZ)))
    return offsets(sound, clip, lambda at_s: at_s + first_s)


def offsets(
    sound: Samples, clip: Path, seen: Callable[[float], float | None], reach: int = _REACH
) -> Iterator[float]:
    """By how much the clip's time in `sound` is ahead of that on the screen, `seen`."""
    ours = envelope(sound)
    meant = envelope(np.concatenate(list(read_audio(clip, SAMPLE_RATE_HZ))))
    for start in range(0, len(ours) - _WINDOW, _WINDOW // 2):
        seen_s = seen(start * _STEP_S)
        if seen_s is None:
            continue
        middle, last = round(seen_s / _STEP_S), len(meant) - _WINDOW
        near = range(max(middle - reach, 0), min(middle + reach, last))
        window = ours[start : start + _WINDOW]
        fits = [correlation(window, meant[at : at + _WINDOW]) for at in near]
        if fits and max(fits) > _CLEAR:
            yield near[int(np.argmax(fits))] * _STEP_S - seen_s


def envelope(sound: Samples) -> NDArray[np.float64]:
    whole = sound[: len(sound) // _STEP * _STEP].astype(np.float64)
    return np.asarray(np.sqrt(np.abs(whole.reshape(-1, _STEP)).mean(1)))


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))


def summary(offsets: list[float]) -> dict[str, float]:
    """Milliseconds: median, and the two ends of what nine in ten are within."""
    if not offsets:
        return {"windows": 0}
    ms = np.array(offsets) * 1000
    low, middle, high = np.percentile(ms, [5, 50, 95])
    return {
        "windows": len(ms),
        "p5_ms": round(float(low), 1),
        "p50_ms": round(float(middle), 1),
        "p95_ms": round(float(high), 1),
    }


if __name__ == "__main__":
    guard(main)
