"""`gemino bench`: whole tables, consistent ratios, clear refusals; the published network's cost."""

import copy
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from gemino.cli.main import app
from gemino.config import Sampling
from gemino.errors import GeminoError, MediaError, ModelError, RuntimeUnavailable
from gemino.runtime.parity import export_model
from gemino.timing import floors, original, pipeline, tables
from gemino.timing.apart import run_apart
from gemino.timing.bench import Case
from gemino.timing.cost import Cost, count_parameters
from gemino.timing.floors import Floors
from gemino.timing.original import LR_PX, OUTPUT_PX, Original
from gemino.timing.stopwatch import Stage, measure
from gemino.timing.subject import open_subject
from gemino.zoo import find

pytestmark = pytest.mark.timeout(300)  # processes start slowly on a busy machine

STAGES = [
    *("prepare", "shrink", "fovea: shrink", "LR encode", "LR decode", "fovea: straighten"),
    *("align half", "band warp", "draw half", "compose", "whole synthesis", "end to end"),
    *("reference: still encode", "reference: still decode", "reference: encode features"),
    *("VP8 256 encode and decode", "bicubic upsampling"),
]


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for the smallest network at the smallest size."""
    made = tmp_path_factory.mktemp("bench")
    outputs = (f"--json={made}/bench.json", f"--markdown={made}/bench.md")
    quick = ("--size=256", "--model=xs", "--device=cpu", "--seconds=0.01")
    done = bench(*quick, *outputs, f"--profile={made}/trace.json")
    assert done.exit_code == 0, done.output
    assert all(stage in done.output for stage in STAGES)
    return made


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    written = json.loads((folder / "bench.json").read_text())
    assert written["format"] == tables.FORMAT
    (case,) = written["cases"]
    assert isinstance(case, dict)
    return case


def test_every_stage_is_timed(record: dict[str, Any]) -> None:
    assert list(record["stages"]) == STAGES
    for timing in record["stages"].values():
        assert 0 < timing["best_ms"] <= timing["p50_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
        assert 0 < timing["cpu_best_ms"] <= timing["cpu_p50_ms"]
        assert timing["runs"] >= 1


def test_what_was_timed_is_told(record: dict[str, Any]) -> None:
    assert (record["model"], record["model_sha256"], record["output_px"]) == ("xs", None, 256)
    assert (record["runtime"], record["device"], record["threads"]) == ("torch", "cpu", 1)
    width = {"bfloat16": 2, "float32": 4}[record["precision"]]
    assert record["weights_mb"] == pytest.approx(record["parameters"] * width / 1e6, abs=1e-4)
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["torch"] == torch.__version__
    assert record["gmac"] == pytest.approx(0.474, abs=0.01)
    assert 150 < record["peak_rss_mb"] < 2000


def test_the_ratios_follow_from_the_times(record: dict[str, Any]) -> None:
    assert record["ratios_of"] == "cpu_p50_ms"
    ms = {name: timing["cpu_p50_ms"] for name, timing in record["stages"].items()}
    whole = ms[pipeline.WHOLE]
    others = {"vp8": ms[pipeline.vp8(256)], "bicubic": ms[pipeline.BICUBIC]}
    for name, other in {**others, "floor": record["floor_ms"]}.items():
        assert record["ratios"][name] == pytest.approx(whole / other, rel=0.02), name
    arithmetic_ms = 1000 * record["gmac"] / max(record["gmac_per_s"].values())
    transport_ms = record["moved_mb"] / record["memory_gb_per_s"]
    assert record["floor_ms"] == pytest.approx(max(arithmetic_ms, transport_ms), rel=0.02)
    assert record["ratios"]["floor"] > 1


def test_the_parts_are_about_the_whole(record: dict[str, Any]) -> None:
    ms = {name: timing["cpu_best_ms"] for name, timing in record["stages"].items()}
    parts = sum(ms[name] for name in ("align half", "band warp", "draw half", "compose"))
    assert 0.4 < parts / ms[pipeline.WHOLE] < 1.6


def test_the_markdown_holds_what_the_json_holds(folder: Path, record: dict[str, Any]) -> None:
    text = (folder / "bench.md").read_text()
    assert text.count("### ") == 3
    for name, timing in record["stages"].items():
        plain = text.replace("*", "").splitlines()
        row = next(line for line in plain if line.startswith(f"| {name} |"))
        assert f"{timing['p50_ms']:.2f}" in row
    assert record["machine"]["cpu"] in text
    if record["machine"]["gpu"] is None:
        assert "a GPU has not been timed" in text


def test_the_profile_is_a_chrome_trace_with_our_stages(folder: Path) -> None:
    trace = json.loads((folder / "trace.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"shrink", "LR encode", "align half", pipeline.END_TO_END} <= names


def test_both_runtimes_show_their_parts(tmp_path: Path) -> None:
    """The steps that an export and the model it came from take; each can be repeated."""
    files = find("generic-s")
    export_model(files, 256, tmp_path / "export", [], "float32")
    lr = np.full((256, 256, 3), 90, np.uint8)
    shown = []
    for source in (files, find(tmp_path / "export")):
        subject = open_subject(source, 256, "cpu", 1)
        subject.synthesizer.add_reference(lr)
        parts = subject.parts(lr, Sampling(256), -5.0)
        assert {"align half", "draw half"} <= set(parts)
        with torch.inference_mode():
            for part in parts.values():
                assert part() is not None
        shown.append((subject.runtime, subject.device.type))
    assert shown == [("torch", "cpu"), ("onnx", "cpu")]
    with pytest.raises(RuntimeUnavailable, match="use --device cpu"):
        open_subject(find(tmp_path / "export"), 256, "cuda", 1)


def test_a_busy_machine_is_told_from_a_quiet_one(record: dict[str, Any]) -> None:
    quiet, busy = copy.deepcopy(record), copy.deepcopy(record)
    quiet["cpu_share"], busy["cpu_share"] = 0.99, 0.3
    assert "busy" not in tables.times([quiet]).note
    assert "this process had 30% of a core" in tables.times([quiet, busy]).note


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["--size", "300"], GeminoError, "--size: 300 is not of 256, 512"),
        (["--size", ","], GeminoError, "--size: none is not of"),
        (["--model", "nobody"], ModelError, "no model 'nobody'; name one of these"),
        (["--model", ","], GeminoError, "--model: name a model, or one of xs, s, l"),
        (["--device", "abacus"], GeminoError, "--device: abacus is not of auto, cpu, cuda"),
        (["--seconds", "nan"], GeminoError, "--seconds: give more than 0 and at most 3600"),
        (["--seconds", "0"], GeminoError, "--seconds: give more than 0"),
        (["--threads", "1024"], GeminoError, "--threads: this machine has"),
        (["--json", "/nowhere/x.json"], MediaError, "/nowhere/x.json: cannot be written"),
        (["--profile", "/"], MediaError, "/: cannot be written"),
    ],
)
def test_a_wrong_option_gives_one_clear_line(
    arguments: list[str], kind: type[GeminoError], said: str
) -> None:
    done = bench(*arguments)
    assert type(done.exception) is kind
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_refused_by_the_process_that_looks_for_it() -> None:
    done = bench("--device=cuda", "--size=256", "--model=xs")
    assert isinstance(done.exception, RuntimeUnavailable)
    assert "no usable cuda device" in str(done.exception)


def test_a_process_that_dies_is_noticed() -> None:
    def kill(_: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(GeminoError, match="died"):
        run_apart(Case("xs", 256, "cpu", seconds=60), kill)


def measuring_processes(parent: int) -> list[Path]:
    """Folders below /proc of the children that measure."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    folders = [Path("/proc", child) for child in children]
    return [folder for folder in folders if b"spawn_main" in (folder / "cmdline").read_bytes()]


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    """Of a terminal: the signal reaches the measuring process too."""
    command = [sys.executable, "-c", "from gemino.cli.main import main; main()", "bench"]
    process = subprocess.Popen(
        [*command, "--size=256", "--model=xs", "--seconds=600", f"--json={tmp_path}/x.json"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    measuring: list[Path] = []
    while process.poll() is None and not measuring:
        measuring = measuring_processes(process.pid)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "interrupted; 0 of 1 are kept" in said
    assert not any(folder.exists() for folder in measuring)


def test_stages_take_turns() -> None:
    order: list[str] = []
    heard: list[float] = []
    stages = [
        Stage("often", lambda: order.append("often")),
        Stage("seldom", lambda: order.append("seldom"), every=2),
    ]
    timings = measure(stages, 0.0, heard.append, fewest=4, warm_up=1)
    assert order == ["often", "seldom", "often", "seldom", "often", "often", "seldom", "often"]
    assert {name: timing.runs for name, timing in timings.items()} == {"often": 4, "seldom": 2}
    assert heard == [0.25, 0.5, 0.75, 1.0]


def test_time_that_passes_is_told_from_time_that_is_computed() -> None:
    stages = [
        Stage("waits", lambda: time.sleep(0.02)),
        Stage("computes", lambda: sum(range(200_000))),
    ]
    timings = measure(stages, 0.0, fewest=5)
    assert timings["waits"].p50 >= 20
    assert timings["waits"].cpu_p50 < 5
    assert 0 < timings["computes"].cpu_best <= timings["computes"].best + 0.1


def test_a_gpu_is_timed_by_its_own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a GPU: what is recorded, and awaited, in which order."""
    order: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            order.append("record")

        def synchronize(self) -> None:
            order.append("await")

        def elapsed_time(self, _: "Event") -> float:
            return 1.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("settle"))
    there = Stage("there", lambda: order.append("there"), on_gpu=True)
    here = Stage("here", lambda: order.append("here"))
    timings = measure([there, here], 0.0, fewest=1, warm_up=0)
    assert timings["there"].p50 == 1.5
    assert order == ["settle", "record", "there", "record", "await", "settle", "here"]


def test_a_floor_is_the_longer_of_arithmetic_and_transport() -> None:
    best = dict.fromkeys(floors.names(), 2.0)
    limits = floors.floors(best)
    assert limits.peak == pytest.approx(9 * 64 * 64 * 128 * 128 / 2e-3 / 1e9)
    assert limits.memory == pytest.approx(2 * (128 << 20) / 2e-3 / 1e9)
    simple = Floors({"a": 100.0, "b": 200.0}, memory=10.0)
    assert simple.frame_ms(macs=2 * 10**9, moved_bytes=10**6) == pytest.approx(10.0)
    assert simple.frame_ms(macs=0, moved_bytes=10**8) == pytest.approx(10.0)
    counted = Cost(parameters=1000, macs=1, reference_bytes=50, picture_bytes=7)
    assert counted.moved_bytes("bfloat16") == 2057
    assert counted.moved_bytes("float32") == 4057


def test_the_published_network_costs_what_is_published() -> None:
    """82 M parameters and 243 GMAC a frame; the depthwise variant 31 GMAC."""
    plain, depthwise = original.counts(), original.counts(original.depthwise)
    assert plain.parameters / 1e6 == pytest.approx(82, rel=0.01)
    assert plain.macs / 1e9 == pytest.approx(243, rel=0.01)
    assert depthwise.macs / 1e9 == pytest.approx(31, rel=0.015)
    assert plain.macs > 5 * depthwise.macs


def test_the_published_network_runs_and_heeds_both_of_its_inputs() -> None:
    torch.manual_seed(0)
    network = Original(original.depthwise).eval()
    size, lr_px = OUTPUT_PX // 8, LR_PX // 8
    with torch.inference_mode():
        held = [network.remember(torch.rand(1, 3, size, size)) for _ in range(2)]
        lr = torch.rand(2, 1, 3, lr_px, lr_px)
        pictures = [network(held[0], lr[0]), network(held[1], lr[0]), network(held[0], lr[1])]
    assert pictures[0].shape == (1, 3, size, size)
    assert 0 <= float(pictures[0].min()) <= float(pictures[0].max()) <= 1
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])
    assert count_parameters(network) == original.counts(original.depthwise).parameters


def test_instructions_are_limited_in_a_process_of_their_own(tmp_path: Path) -> None:
    """The libraries are told when they start; what was measured says so."""
    out = tmp_path / "limited.json"
    words = ["bench", "--model", "xs", "--size", "256", "--seconds", "0.1", "--isa", "avx2"]
    program = "import sys; from gemino.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(out.read_text())["cases"]
    assert case["isa_limit"] == "avx2"
    assert case["machine"]["capability"] == "AVX2"
    assert "no more than AVX2" in " ".join(done.stdout.split())
