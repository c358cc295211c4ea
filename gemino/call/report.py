"""What one peer measured, as JSON; and both peers' figures joined into one report."""

import os
import time
from bisect import bisect_left
from fractions import Fraction
from pathlib import Path
from typing import Any

from gemino.call.incoming import Incoming
from gemino.call.options import LoopbackOptions, LoopbackReport
from gemino.call.outgoing import Outgoing
from gemino.call.recorder import LogRow
from gemino.call.stats import (
    Counters,
    Samples,
    kbps,
    keeping_up,
    onwire_kbps,
    payload_kbps,
    percentile,
)
from gemino.config import REFERENCE_AMORTISATION_S
from gemino.processes import peak_rss_mb

_SAME_FRAME_S = 0.001


def _process_age_s(at: float) -> float | None:
    """How old this process was at that time (time.monotonic); None where the system has no proc."""
    try:
        began = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return None
    age_s = since_boot - began / os.sysconf("SC_CLK_TCK")
    return round(age_s - (time.monotonic() - at), 2)


def _p(samples: Samples) -> dict[str, float | None]:
    return {"p50": samples.p(0.5), "p95": samples.p(0.95)}


def _counted(counters: Counters) -> dict[str, Any]:
    return {
        "frames": counters.frames,
        "frames_interpolated": counters.frames_interpolated,
        "frames_dropped": counters.frames_dropped,
        "frames_coded": counters.frames_coded,
        "key_frames": counters.key_frames,
        "lr_bytes": counters.lr_bytes,
        "lr_px": counters.lr_px,
        "drawn_px": counters.drawn_px,
        "drawn_by": counters.drawn_by,
        "drawn_every": counters.drawn_every,
        "lr_codec": counters.lr_codec,
        "reference_bytes": counters.reference_bytes,
        "references": counters.references,
        "adapter_bytes": counters.adapter_bytes,
        "audio_bytes": counters.audio_bytes,
        "audio_packets_lost": counters.audio_packets_lost,
        "audio_packets_recovered": counters.audio_packets_recovered,
        "onwire_bytes": counters.traffic.onwire_bytes,
        "packets_lost": counters.packets_lost,
        "nacks": counters.nacks,
        "plis": counters.plis,
        "messages_dropped": counters.garbage,
        "coding_ms": _p(counters.coding_ms),
    }


def peer_report(outgoing: Outgoing | None, incoming: Incoming | None) -> dict[str, Any]:
    """One peer's figures as JSON values: `sent` and `received`, each None where it did neither."""
    report: dict[str, Any] = {"peak_rss_mb": peak_rss_mb(), "sent": None, "received": None}
    if outgoing is not None:
        counters = outgoing.counters
        video = outgoing.video
        seconds = 0.0 if video.latest is None else video.latest[1] + 1 / float(outgoing.fps)
        report["sent"] = _counted(counters) | {
            "seconds": round(seconds, 3),
            "their_model": outgoing.their_model,
            "frames_in_clip": video.sent + video.dropped,
            "payload_kbps": round(payload_kbps(counters, seconds), 3),
            "audio_kbps": round(kbps(counters.audio_bytes, seconds), 3),
            "onwire_kbps": round(onwire_kbps(counters, seconds), 3),
        }
    if incoming is not None:
        counters = incoming.counters
        report["received"] = _counted(counters) | {
            "frames_neural": counters.frames_neural,
            "frames_carried": counters.frames_carried,
            "runtime": incoming.viewer.way,
            "start_s": _process_age_s(counters.first_shown_s) if counters.frames else None,
            "keeping_up": keeping_up(counters),
            "model": incoming.viewer.model_name,
            "adapter": counters.adapter,
            "synthesize_ms": _p(counters.synthesize_ms),
            "latency_ms": _p(counters.latency_ms),
            "references_rejected": incoming.viewer.rejected_references,
        }
    return report


def join_logs(sent: list[LogRow], shown: list[LogRow]) -> list[LogRow]:
    """Each shown frame with the source frame it shows, in the order shown.

    Both peers log when a frame was taken, on one machine's monotonic clock; a shown frame whose
    source cannot be told (it never is, on a sound call) has source_index -1. A picture made from
    two others shows what was taken between them, which was not sent.
    """
    times = [row["captured_s"] for row in sent]
    rows: list[LogRow] = []
    for row in shown:
        captured_s = row["captured_s"]
        at = bisect_left(times, captured_s - _SAME_FRAME_S)
        if row["interpolated"]:
            neighbours = sent[at - 1 : at + 1] if 0 < at < len(sent) else []
        else:
            neighbours = [one for one in sent[at : at + 1] if _same(one, captured_s)]
        found = bool(neighbours)
        rows.append(
            {
                "source_index": int(_mean(neighbours, "index")) if found else -1,
                "source_time_s": _mean(neighbours, "time_s") if found else -1.0,
                "shown_s": row["shown_s"],
                "latency_ms": round((row["shown_s"] - captured_s) * 1000, 2) if found else -1.0,
                "neural": row["neural"],
                "interpolated": row["interpolated"],
                "lr_px": row["lr_px"],
            }
        )
    return rows


def _same(sent: LogRow, captured_s: float) -> bool:
    return abs(sent["captured_s"] - captured_s) <= _SAME_FRAME_S


def _mean(rows: list[LogRow], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def loopback_report(
    options: LoopbackOptions,
    fps: Fraction,
    sender: dict[str, Any],
    receiver: dict[str, Any],
    frames: list[LogRow],
) -> LoopbackReport:
    """Both peers' reports and the joined log as one."""
    sent, received = sender["sent"], receiver["received"]
    seconds = max(sent["seconds"], 1e-3)
    latencies = [float(row["latency_ms"]) for row in frames if row["source_index"] >= 0]
    neural_s = [float(row["source_time_s"]) for row in frames if row["neural"]]
    p50, p95 = percentile(latencies, 0.5), percentile(latencies, 0.95)
    lossless = options.record_lossless
    return LoopbackReport(
        clip="test pattern" if options.clip is None else str(options.clip),
        size=options.media.size_px,
        lr_px=received["lr_px"],
        drawn_px=received["drawn_px"] or options.media.size_px,
        drawn_by=received["drawn_by"] or received["model"],
        drawn_every=received["drawn_every"],
        keeping_up=received["keeping_up"],
        runtime=received["runtime"],
        start_s=received["start_s"],
        lr_codec=sent["lr_codec"],
        model=received["model"],
        fps=round(float(fps), 3),
        seconds=seconds,
        frames_in_clip=sent["frames_in_clip"],
        frames_sent=sent["frames"],
        frames_shown=received["frames"] - received["frames_interpolated"],
        frames_interpolated=received["frames_interpolated"],
        frames_neural=received["frames_neural"],
        frames_carried=received["frames_carried"],
        fps_shown=round(received["frames"] / seconds, 2),
        payload_kbps=sent["payload_kbps"],
        lr_kbps=round(kbps(sent["lr_bytes"], seconds), 3),
        reference_kbps=round(
            kbps(sent["reference_bytes"], max(seconds, REFERENCE_AMORTISATION_S)), 3
        ),
        audio_kbps=sent["audio_kbps"],
        total_kbps=round(sent["payload_kbps"] + sent["audio_kbps"], 3),
        onwire_kbps=sent["onwire_kbps"],
        onwire_bytes=sent["onwire_bytes"],
        lr_bytes=sent["lr_bytes"],
        reference_bytes=sent["reference_bytes"],
        references=sent["references"],
        first_neural_s=min(neural_s, default=None),
        latency_ms={"p50": p50, "p95": p95},
        synthesize_ms=received["synthesize_ms"],
        decode_ms=received["coding_ms"],
        encode_ms=sent["coding_ms"],
        peak_rss_mb={"sender": sender["peak_rss_mb"], "receiver": receiver["peak_rss_mb"]},
        packets_lost=received["packets_lost"],
        output=None if options.output is None else str(options.output),
        record_lossless=None if lossless is None else str(lossless),
        frame_log=None if lossless is None else str(lossless.with_suffix(".jsonl")),
    )
