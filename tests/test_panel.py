"""The panel on a terminal: what it says, and that it fits."""

from io import StringIO

import pytest
from rich.console import Console, RenderableType

from gemino.call.stats import Counters, Meter, Rates, Traffic
from gemino.cli.panel import Direction, View, lines, render


def told(shown: View, width: int = 80, now: float = 100.0) -> list[str]:
    return shown_lines(render(shown, now), width)


def shown_lines(what: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, force_terminal=False, legacy_windows=False)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def direction(name: str, **counters: object) -> Direction:
    made = Counters(lr_codec="av1", lr_px=128, reference_at=88.0, references=3)
    for key, value in counters.items():
        setattr(made, key, value)
    return Direction(name, made, Rates(11.24, 1.5, 5.0, 37.9, 29.97, 0.016))


def whole() -> View:
    sent = direction("sent", traffic=Traffic(rtt_ms=41.6))
    received = direction("received", frames_neural=5, drawn_every=2)
    received.counters.synthesize_ms.add(31.0)
    received.counters.latency_ms.add(85.0)
    return View("k7wq-ab2c-xyz9", 62.5, 512, (sent, received), "generic-s")


def test_it_says_what_a_call_does_and_costs() -> None:
    rows = told(whole())
    text = "\n".join(rows)
    assert "Gemino, k7wq-ab2c-xyz9, 1:02" in rows[0]
    sent, received = rows[2], rows[3]
    figures = ["30.0", "11.2", "1.5", "5.0", "17.7", "37.9", "1.6", "%"]
    assert sent.split()[1:-1] == ["sent", "av1", "128", "px", *figures]
    assert received.split()[1] == "received"
    assert "reference  sent 12 s old (number 3), received 12 s old (number 3)" in text
    assert "512 px by generic-s, neural, 31 ms to rebuild" in text
    assert "there and back 42 ms, capture to shown 85 ms" in text
    assert "governor   every second picture drawn" in text


@pytest.mark.parametrize("width", [80, 120, 60, 40, 20])
def test_no_line_is_wider_than_the_terminal_and_none_breaks(width: int) -> None:
    rows = told(whole(), width)
    assert max(map(len, rows)) == min(width, 80)
    assert len(rows) == len(told(whole()))


def test_large_figures_and_long_names_fit_too() -> None:
    large = Direction(
        "received",
        Counters(lr_codec="av1", lr_px=1024, references=12_345, reference_at=0.0),
        Rates(1000.0, 1000.0, 510.0, 12_345.6, 120.0, 1.0),
    )
    shown = View("r" * 64, 360_000.0, 1024, (large, large), "models/a-name-that-is-long" * 4)
    rows = told(shown, now=1e6)
    assert max(map(len, rows)) == 80
    assert "1000.0" in rows[3]
    assert "12345.6" in rows[3]
    assert "100 %" in rows[3]


def test_one_direction_alone_and_the_first_second_need_no_figures() -> None:
    only = View("room", 0.0, 256, (Direction("sent", Counters(), Rates()),))
    text = "\n".join(told(only))
    assert "sent none yet" in text
    assert "there and back -" in text
    assert "received" not in text


def test_lines_of_two_processes_go_on_below_themselves() -> None:
    counters = Counters(lr_codec="av1", lr_px=128)
    line = Meter().line(counters, sends=False, size_px=512, now=1.0)
    told_lines = shown_lines(lines({"sender": line, "receiver": line}))
    assert max(map(len, told_lines)) <= 80
    assert told_lines[0].startswith("sender    0.0 kbps LR")
    words = " ".join(told_lines).split()
    assert words == ["sender", *line.split(), "receiver", *line.split()]


def test_loss_is_of_the_packets_between_two_looks() -> None:
    meter, counters = Meter(), Counters()
    counters.traffic.packets = 90
    assert meter.measure(counters, 1.0).loss == 0.0
    counters.packets_lost, counters.traffic.packets = 10, 180
    assert meter.measure(counters, 2.0).loss == pytest.approx(0.1)
    assert meter.measure(counters, 3.0).loss == 0.0
