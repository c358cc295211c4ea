"""The live panel of a call on a terminal: both directions, the network, what it all costs."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gemino.call.peer import Peer
from gemino.call.stats import Counters, Meter, Rates, keeping_up, switched_off

WIDTH = 80
_COLUMNS = ("", "LR stream", "fps", "LR", "ref", "sound", "= kbps", "on wire", "lost")


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of the media. name: "sent" or "received"."""

    name: str
    counters: Counters
    rates: Rates

    def reference(self, now: float) -> str:
        """How old its newest reference is, in words."""
        at = self.counters.reference_at
        if at is None:
            return "none yet"
        return f"{max(now - at, 0):.0f} s old (number {self.counters.references})"


@dataclass(frozen=True, slots=True)
class View:
    """What the panel shows. seconds: since the call's start. model: None where nothing comes."""

    room: str
    seconds: float
    size_px: int
    directions: tuple[Direction, ...]
    model: str | None = None


def view(peer: Peer, meters: dict[str, Meter], seconds: float) -> View:
    """The call of `peer` as it is now; meters: by the names "send" and "receive"."""
    directions = []
    if peer.outgoing is not None:
        directions.append(Direction("sent", peer.outgoing.counters, meters["send"].rates))
    if peer.incoming is not None:
        directions.append(Direction("received", peer.incoming.counters, meters["receive"].rates))
    model = peer.incoming.viewer.model_name if peer.incoming is not None else None
    options = peer.options
    return View(options.room, seconds, options.media.size_px, tuple(directions), model)


def render(shown: View, now: float) -> RenderableType:
    """`shown` as a panel that fits 80 columns, and shortens its cells on fewer."""
    minutes, seconds = divmod(int(shown.seconds), 60)
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in _lines(shown, now)]
    title = Text(f" Gemino, {shown.room}, {minutes}:{seconds:02} ")
    return Panel(Group(_table(shown.directions), *lines), title=title, box=box.ROUNDED, width=WIDTH)


def lines(said: dict[str, str]) -> RenderableType:
    """What each of several peers said last, by name; long lines go on below themselves."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, line in said.items():
        table.add_row(name, Text(" ".join(line.split())))
    return table


def _table(directions: tuple[Direction, ...]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    for number, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if number > 1 else "left", no_wrap=True)
    for direction in directions:
        counters, rates = direction.counters, direction.rates
        cells = [rates.lr, rates.reference, rates.sound, rates.payload, rates.wire]
        table.add_row(
            direction.name,
            f"{counters.lr_codec or '-'} {counters.lr_px} px",
            f"{rates.fps:.1f}",
            *(f"{cell:.1f}" for cell in cells),
            f"{100 * rates.loss:.{1 if rates.loss < 0.1 else 0}f} %",
            style="bold" if direction.name == "received" else None,
        )
    return table


def _lines(shown: View, now: float) -> Iterator[str]:
    by_name = {direction.name: direction for direction in shown.directions}
    received, sent = by_name.get("received"), by_name.get("sent")
    off = [f"{each.name}: {switched_off(each.counters)}" for each in shown.directions]
    if told := [line for line in off if not line.endswith(": ")]:
        yield f"off        {'; '.join(told)}"
    references = [f"{each.name} {each.reference(now)}" for each in shown.directions]
    yield f"reference  {', '.join(references)}"
    rtt_ms = sent.counters.traffic.rtt_ms if sent is not None else None
    network = "-" if rtt_ms is None else f"{rtt_ms:.0f} ms"
    if received is None:
        yield f"network    there and back {network}"
        return
    counters = received.counters
    how = "neural" if counters.frames_neural else "classical"
    rebuild_ms = counters.synthesize_ms.recent()
    yield f"picture    {shown.size_px} px by {shown.model}, {how}, {rebuild_ms:.0f} ms to rebuild"
    latency_ms = counters.latency_ms.recent()
    capture = f", capture to shown {latency_ms:.0f} ms" if latency_ms else ""
    yield f"network    there and back {network}{capture}"
    yield f"governor   {keeping_up(counters) or 'all pictures drawn in full'}"
