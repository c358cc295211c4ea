"""Draws docs/panel.svg: the live panel of a call of two on this machine, as a terminal shows it.

    python scripts/draw_panel.py [SECONDS]

Holds the call with both sample clips, 12 seconds by default, and keeps the panel's last state.
"""

import argparse
import asyncio
import re
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.peer import Peer
from gemino.call.sources import ClipSource
from gemino.call.stats import Meter
from gemino.cli.edge import guard
from gemino.cli.panel import WIDTH, render, view
from signaling import SignalingServer

SAMPLES = Path(__file__).parents[1] / "samples"
PICTURE = Path(__file__).parents[1] / "docs" / "panel.svg"


class Blind:
    """A display that looks away: the peer receives, and nothing else is measured."""

    def show(self, shown: object) -> None: ...
    def show_self(self, frame: object, taken_s: float) -> None: ...
    def close(self) -> None: ...


async def call(seconds: float) -> None:
    console = Console(record=True, width=WIDTH, file=sys.stderr)
    meters, began_s = {"send": Meter(), "receive": Meter()}, list[float]()

    def tell(peer: Peer, now: float) -> None:
        began_s.append(now)
        for name, half in (("send", peer.outgoing), ("receive", peer.incoming)):
            if half is not None:
                meters[name].measure(half.counters, now)
        if now - began_s[0] < seconds - 3:
            return
        console.print(render(view(peer, meters, now - began_s[0] + 1), now))
        peer.stop()

    media = MediaOptions(kbps=20.0, seconds=seconds)
    async with SignalingServer("127.0.0.1", 0) as server:
        peers = [
            Peer(
                PeerOptions(
                    room="k7wq-ab2c-xyz9",
                    server_url=server.url,
                    media=media if told is tell else replace(media, model=None),
                    source=ClipSource(SAMPLES / clip, loop=True),
                    displays=(Blind(),),
                    local=True,
                ),
                told,
            )
            for clip, told in (("webcam.mp4", tell), ("address.mp4", lambda _peer, _now: None))
        ]
        await asyncio.gather(*(peer.run() for peer in peers), return_exceptions=True)
    drawing = console.export_svg(title="gemino-call")
    # The picture asks no other server for a font.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL))
    print(PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("seconds", nargs="?", type=float, default=12.0, help="length of the call")
    asyncio.run(call(parser.parse_args().seconds))


if __name__ == "__main__":
    guard(main)
