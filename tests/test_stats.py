"""Counters, percentiles, W3C names and the status line."""

import json

import pytest

from gemino.call.progress import Progress
from gemino.call.report import join_logs
from gemino.call.stats import Counters, Meter, Samples, kbps, payload_kbps, percentile, w3c
from gemino.wire import Stats


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.95) == 95
    assert percentile([7.0], 0.95) == 7
    assert percentile([], 0.5) is None


def test_samples_tell_the_recent_mean_and_all_percentiles() -> None:
    samples = Samples()
    assert samples.recent() == 0
    assert samples.p(0.5) is None
    for value in [1000.0] + [10.0] * 60:
        samples.add(value)
    assert samples.recent() == 10
    assert samples.p(1.0) == 1000
    assert samples.recent_p(1.0) == 10


def test_the_other_peer_is_told_of_the_last_two_seconds() -> None:
    counters = Counters()
    progress = Progress(counters)
    progress.start(0.0)
    for milliseconds in [500.0] * 200 + [10.0] * 60:
        counters.coding_ms.add(milliseconds)
    (told,) = progress.messages(8.0)
    assert isinstance(told, Stats)
    assert (told.decode_p95_ms, told.latency_p95_ms) == (10, 0)


def test_a_reference_is_spread_over_a_minute_or_the_whole_call() -> None:
    counters = Counters(lr_bytes=15_000, reference_bytes=7_500)
    assert payload_kbps(counters, 10.0) == pytest.approx(12 + 1)
    assert payload_kbps(counters, 120.0) == pytest.approx(1 + 0.5)
    assert kbps(1000, 0.0) == 0


def test_every_datagram_costs_28_bytes_more_on_the_wire() -> None:
    counters = Counters()
    counters.traffic.packets, counters.traffic.bytes = 10, 1_000
    assert counters.traffic.onwire_bytes == 1_280


@pytest.mark.parametrize("sends", [True, False])
def test_statistics_have_their_w3c_names(sends: bool) -> None:
    counters = Counters(frames=30, frames_coded=31, key_frames=2, lr_px=128, nacks=3, plis=1)
    row = json.loads(json.dumps(w3c(counters, sends=sends, now=2.0)))
    shared = {"kind": "video", "frameWidth": 128, "nackCount": 3, "pliCount": 1, "timestamp": 2000}
    assert row.items() >= shared.items()
    if sends:
        own = {"type": "outbound-rtp", "framesSent": 30, "framesEncoded": 31, "keyFramesEncoded": 2}
    else:
        own = {"type": "inbound-rtp", "framesDecoded": 31, "framesRendered": 30, "packetsLost": 0}
    assert row.items() >= own.items()


def test_the_status_line_shows_rates_since_the_last_one() -> None:
    counters, meter = Counters(lr_px=128, lr_codec="av1"), Meter()
    meter.line(counters, sends=True, size_px=512, now=10.0)
    counters.lr_bytes, counters.reference_bytes, counters.audio_bytes = 3_750, 1_250, 1_000
    counters.frames, counters.traffic.bytes = 60, 10_000
    counters.coding_ms.add(2.0)
    line = meter.line(counters, sends=True, size_px=512, now=12.0)
    assert line == (
        " 15.0 kbps LR +  5.0 ref + 4.0 sound =  40.0 on the wire | LR av1 128 px"
        " | 30.0 fps sent | encode  2.0 ms"
    )
    received = meter.line(counters, sends=False, size_px=512, now=13.0)
    assert "LR av1 128 px -> 512" in received
    assert "classical" in received


def test_shown_frames_find_their_source_by_the_time_of_capture() -> None:
    sent = [{"index": n, "time_s": n / 30, "captured_s": 100 + n / 30} for n in range(5)]
    shown = [
        {"captured_s": 100 + 2 / 30 + 1e-5, "shown_s": 100.1, "neural": True, "lr_px": 128},
        {"captured_s": -1.0, "shown_s": 100.2, "neural": False, "lr_px": 128},
        {"captured_s": 100.05, "shown_s": 100.2, "neural": False, "lr_px": 128},
    ]
    rows = join_logs(sent, [row | {"interpolated": False} for row in shown])
    assert [row["source_index"] for row in rows] == [2, -1, -1]
    assert rows[0]["latency_ms"] == pytest.approx(33.3, abs=0.1)


def test_a_picture_made_from_two_shows_what_was_taken_between_them() -> None:
    sent = [{"index": n, "time_s": n / 30, "captured_s": 100 + n / 30} for n in range(0, 9, 2)]
    made = {"interpolated": True, "shown_s": 100.2, "neural": True, "lr_px": 128}
    rows = join_logs(sent, [made | {"captured_s": at} for at in (100 + 3 / 30, 99.9, 101.0)])
    assert [row["source_index"] for row in rows] == [3, -1, -1]
    assert rows[0]["source_time_s"] == pytest.approx(0.1)
    assert rows[0]["latency_ms"] == pytest.approx(100, abs=0.1)
