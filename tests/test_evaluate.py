"""`gemino evaluate` from end to end, and the parts that plan, run and publish it."""

import json
import multiprocessing
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.stream import VideoStream
from typer.testing import CliRunner, Result

from gemino.cli.main import app
from gemino.errors import CodecError, GeminoError, MediaError, RuntimeUnavailable
from gemino.evaluation import bdrate, campaign, edition, results, tables
from gemino.evaluation.bench import Bench, Record, Settings, Task
from gemino.evaluation.edition import Outputs
from gemino.evaluation.offline import Stream
from gemino.evaluation.report import title
from gemino.evaluation.results import Results
from gemino.evaluation.specs import Spec, parse
from gemino.frames import Frame, prepare
from gemino.media import MovieWriter, read_frames

SAMPLES = Path(__file__).parents[1] / "samples"
QUICK = Settings(every=6, seconds=0.5, play_s=1.0)


pytestmark = pytest.mark.timeout(300)  # processes start slowly on a busy machine


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of half a second with its regions, and one that is no clip."""
    made = tmp_path_factory.mktemp("clips")
    frames = [prepare(t.frame, 256) for t in _first(SAMPLES / "webcam.mp4", 15)]
    with MovieWriter(made / "face.mp4", 256, Fraction(30)) as movie:
        for at, frame in enumerate(frames):
            movie.write(frame, at / 30)
    stored = json.loads((SAMPLES / "webcam.regions.json").read_text())
    stored["frames"] = stored["frames"][:15]
    (made / "face.regions.json").write_text(json.dumps(stored))
    (made / "torn.mp4").write_bytes(b"no video at all")
    return made


@pytest.fixture(scope="module")
def evaluated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole command over both."""
    out = tmp_path_factory.mktemp("out")
    made = evaluate(
        *(folder, "--size", "256", "--codecs", "gemino,bicubic-vp9,vp8", "--model", "none"),
        *("--kbps", "15,60", "--more-kbps", "vp8:200", "--every", "6", "--play-s", "1"),
        *("--json", out / "f.json", "--html", out / "f.html"),
        *("--plots", out / "plots", "--strips", out / "strips"),
    )
    (out / "stdout").write_text(made.stdout)
    assert isinstance(made.exception, GeminoError)
    (out / "stderr").write_text(f"{made.stderr}{made.exception}")
    return out


def test_points_hold_every_figure(evaluated: Path) -> None:
    found = results.load(evaluated / "f.json")
    assert found.clips() == ["face"]
    assert set(found.codecs()) == {"gemino", "bicubic-vp9", "vp8"}
    assert [p["asked_kbps"] for p in found.curve("face", 256, "gemino")] == [15, 60]
    needed = {figure.key for figure in results.FIGURES} - {
        *("lpips_vgg", "mouth_error", "lpips_first_pass"),
    }
    for point in found.points:
        assert needed <= point.keys()
        assert point["onwire_kbps"] > point["payload_kbps"]
        assert point["lpips_worst5"] >= point["lpips"]
        assert (point["frames"], point["frames_measured"]) == (15, 2)
    gemino_point = found.at("face", 256, "gemino", 60)
    assert gemino_point is not None
    assert gemino_point["lr_codec"] == "av1"
    assert gemino_point["reference_bytes"] > 1000


def test_below_a_floor_nothing_is_measured(evaluated: Path) -> None:
    found = results.load(evaluated / "f.json")
    vp8 = found.curve("face", 256, "vp8")
    assert [p["asked_kbps"] for p in vp8][-2:] == [60, 200]
    floor = found.at("face", 256, "vp8", 6)
    assert floor is not None
    assert floor["floor"]
    assert floor["payload_kbps"] > 1.1 * floor["asked_kbps"]


def test_a_summary_stands_beside_the_points(evaluated: Path) -> None:
    written = json.loads((evaluated / "f.json").read_text())
    assert written["format"] == 2
    assert written["machine"]["cores"] >= 1
    assert [p["codec"] for p in written["points"]] == ["gemino"] * 2 + ["bicubic-vp9"] * 2 + [
        "vp8"
    ] * (len(written["points"]) - 4)  # as asked, not as measured
    assert {row["anchor"] for row in written["bd_rate"]} == {"bicubic-vp9", "vp8"}
    mean = next(m for m in written["mean"] if (m["codec"], m["asked_kbps"]) == ("gemino", 60))
    point = next(p for p in written["points"] if (p["codec"], p["asked_kbps"]) == ("gemino", 60))
    assert mean["lpips"] == pytest.approx(point["lpips"])


def test_a_clip_that_cannot_be_read_is_named_and_the_others_go_on(evaluated: Path) -> None:
    errors = (evaluated / "stderr").read_text().splitlines()
    assert sum(line.startswith("failed: torn 256 px") for line in errors) == 3  # once a codec
    assert errors[-1].startswith("3 of 14 points failed: torn 256 px, ")
    assert "cannot be read as video" in errors[-1]
    assert not any("Traceback" in line for line in errors)


def test_a_page_holds_everything_and_needs_nothing(evaluated: Path) -> None:
    page = (evaluated / "f.html").read_text()
    sources = re.findall(r"""(?:src|href)=["']?([^"'>]*)""", page)
    kinds = [source.split(",")[0] for source in sources]
    assert kinds == ["data:image/png;base64"] * 2 + ["data:image/jpeg;base64"]
    assert "http" not in page
    assert "Mean of 1 clips, 256 px" in page
    assert "BD-rate on LPIPS, 8 to 40 kbps" in page


def test_plots_and_strips_are_pictures(evaluated: Path) -> None:
    for name in ("means-256.png", "clips-256.png"):
        plot = cv2.imread(str(evaluated / "plots" / name))
        assert plot is not None
        assert min(plot.shape[:2]) > 300
    strip = cv2.imread(str(evaluated / "strips" / "face-256.png"))
    assert strip is not None
    assert strip.shape == (32 + 4 * 384, 4 * 384, 3)
    original, ours = strip[32:, -384:].astype(int), strip[32:, :384].astype(int)
    assert 1 < np.abs(original - ours).mean() < 40  # the same moments, coded


def test_the_terminal_shows_the_means(evaluated: Path) -> None:
    shown = (evaluated / "stdout").read_text()
    assert "Mean of 1 clips" in shown
    assert "LPIPS" in shown
    assert "BD-rate on LPIPS" in shown


def test_markdown_tables_are_made_of_the_same_figures(evaluated: Path) -> None:
    script = SAMPLES.parent / "scripts" / "results_table.py"
    command = [sys.executable, str(script), str(evaluated / "f.json"), "--kbps", "60"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    point = results.load(evaluated / "f.json").at("face", 256, "gemino", 60)
    assert point is not None
    row = next(line for line in made.stdout.splitlines() if line.startswith("| face | 0"))
    assert row.startswith(f"| face | {point['lpips']:.3f} | {point['payload_kbps']:.1f} |")
    assert "Gemino has the lower LPIPS than bicubic (VP9)" in made.stdout


def test_an_evaluation_goes_on_where_it_was_cut_off(
    evaluated: Path, folder: Path, tmp_path: Path
) -> None:
    former = json.loads((evaluated / "f.json").read_text())
    kept = [p for p in former["points"] if p["codec"] == "vp8"]
    for point in kept:
        point["lpips"] = 0.123  # a mark: what is kept is not measured again
    stored = former["settings"] | {"every": 6}
    path = tmp_path / "f.json"
    path.write_text(json.dumps(former | {"points": kept, "settings": stored}))
    settings = Settings(**{k: v for k, v in stored.items() if k not in ("vgg", "landmarks")})
    outputs = Outputs(json=path)
    tasks = edition.plan(
        [folder / "face.mp4"], [256], parse("bicubic,vp8", ""), [60.0], {"vp8": [200.0]}
    )
    begun, done = edition.begin(outputs, settings, tasks, resume=True)
    other = {(p["codec"], p["asked_kbps"]) for p in begun.points}
    assert other == {("vp8", 15.0)}  # not asked for this time, and kept
    outcomes = list(campaign.run(tasks, settings, 1, done))
    begun.points.extend(outcome.record for outcome in outcomes if outcome.record is not None)
    marked = {p["codec"]: p["lpips"] for p in begun.points}
    assert marked["vp8"] == 0.123
    assert marked["bicubic"] != 0.123
    assert len(begun.points) == 4


def test_points_measured_in_another_way_are_not_mixed(evaluated: Path) -> None:
    outputs = Outputs(json=evaluated / "f.json")
    with pytest.raises(GeminoError, match="was measured with every 6, not 10"):
        edition.begin(outputs, Settings(play_s=1.0), [], resume=True)
    fresh, done = edition.begin(outputs, Settings(), [], resume=False)
    assert not fresh.points
    assert not done


def test_an_interrupt_keeps_what_was_measured(folder: Path, tmp_path: Path) -> None:
    program = "from gemino.cli.main import main; main()"
    command: list[str | Path] = [
        *(sys.executable, "-c", program, "evaluate", folder / "face.mp4"),
        *("--size", "256", "--codecs", "vp8", "--every", "6"),
        *("--kbps", "100,200,300,400,500,600,700,800", "--play-s", "6"),
        *("--json", tmp_path / "f.json"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert first.startswith("face 256 px, vp8: LPIPS")
    assert process.returncode == 130
    assert "--resume goes on" in rest
    assert "Traceback" not in rest
    assert 1 <= len(results.load(tmp_path / "f.json").points) < 8
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_two_evaluations_do_not_write_one_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from gemino.evaluation.results import claim\n"
        "with claim(Path(sys.argv[1])):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        made = evaluate(folder / "face.mp4", "--model", "none", "--json", path)
        assert str(made.exception) == (
            f"{path}: another evaluation is writing it; let that end, or name another file"
        )
        process.kill()
    with results.claim(path):  # what a process that died has left stands in nobody's way
        assert path.with_name("f.json.lock").exists()
    assert not list(tmp_path.iterdir())


def test_a_process_that_dies_is_one_clear_error(folder: Path) -> None:
    tasks = [_task(folder / "face.mp4", "vp8", kbps) for kbps in (900.0, 800.0, 700.0, 600.0)]
    tasks += [_task(folder / "face.mp4", "vp9", 900.0)]
    outcomes = campaign.run(tasks, QUICK, 2)
    assert next(outcomes).record is not None
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(GeminoError, match="a process of the evaluation died"):
        list(outcomes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.mp4",), "absent.mp4: no such file"),
        ((SAMPLES, "--model", "none", "--vgg", "x.npz"), "cannot read LPIPS weights"),
        ((SAMPLES, "--model", "none", "--landmarks", "x.task"), "is no MediaPipe"),
        ((SAMPLES, "--codecs", "gemino,h266"), "h266 is not of gemino, bicubic"),
        ((SAMPLES, "--kbps", "ten"), "--kbps: ten is no list of rates"),
        ((SAMPLES, "--kbps", "1"), "give rates from 5 to 1000 kbps"),
        ((SAMPLES, "--size", "500"), "--size: 500 is not of 256"),
        ((SAMPLES, "--resume"), "--resume needs --json"),
        ((SAMPLES, "--more-kbps", "vp8"), "vp8 is not of the form"),
        ((SAMPLES, "--model", "none", "--more-kbps", "vp9:50"), "vp9 is not among --codecs"),
        ((SAMPLES, "--bd-kbps", "8"), "give two rates"),
        ((SAMPLES, "--model", "absent"), "absent"),
        ((SAMPLES, "--model", "none", "--json", "absent/f.json"), "absent/f.json: cannot be"),
    ],
)
def test_a_wrong_request_is_one_error(
    arguments: tuple[object, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SAMPLES)
    made = evaluate(*arguments)
    assert isinstance(made.exception, GeminoError)
    assert message in str(made.exception)
    assert "\n" not in str(made.exception)


def test_codecs_by_name() -> None:
    specs = parse("gemino, gemino-av1-192,bicubic-vp9,x265,gemino:none", "a")
    assert [(s.kind, s.stream, s.model) for s in specs] == [
        ("gemino", Stream(), "a"),
        ("gemino", Stream("av1", 192), "a"),
        ("bicubic", Stream("vp9"), None),
        ("x265", Stream(), None),
        ("gemino", Stream(), "none"),
    ]
    assert [s.name for s in parse("gemino,vp8", "a,b/c")] == ["gemino:a", "gemino:b/c", "vp8"]
    titles = [title(s.name) for s in [*specs, *parse("gemino-vp8", "a,b")]]
    assert titles == [
        *("Gemino", "Gemino (AV1 192)", "bicubic (VP9)", "H.265", "Gemino (none)"),
        *("Gemino (VP8, a)", "Gemino (VP8, b)"),
    ]


@pytest.mark.parametrize(
    "names", ["", "gemino,gemino", "gemino-h264", "gemino-av1-100", "gemino-128", "vp8:x", "av1-64"]
)
def test_a_codec_that_is_none_is_refused(names: str) -> None:
    with pytest.raises(GeminoError, match="--codecs: "):
        parse(names, "none")


def test_an_lr_stream_of_a_given_size_is_kept(folder: Path) -> None:
    task = _task(folder / "face.mp4", "gemino-vp9-64", 20.0)
    record = Bench(QUICK).measure(task)
    assert (record["lr_codec"], record["lr_px"]) == ("vp9", 64)


def test_wins_and_means_count_clips() -> None:
    found = Results({}, [_point("a", "gemino", 0.1), _point("a", "av1", 0.2)])
    found.points.extend([_point("b", "gemino", 0.3), _point("b", "av1", 0.2)])
    assert found.wins(512, "gemino", "av1", 15) == (1, 2)
    mean = found.means(512, "gemino", 15)
    assert mean is not None
    assert mean["lpips"] == pytest.approx(0.2)
    found.points.append(_point("c", "av1", 0.2))
    assert found.means(512, "gemino", 15) is None  # not measured on every clip
    text = tables.clips(found, 512, 15).markdown()
    assert "| c | - | - | 0.200 | 15.0 |" in text


def test_bounds_make_a_mean_a_bound() -> None:
    found = Results({})
    for clip, lpips in (("a", 0.05), ("b", 0.15)):
        for kbps, factor in ((10.0, 1.0), (20.0, 0.8)):
            found.points.append(_point(clip, "gemino", lpips * factor, kbps))
            found.points.append(_point(clip, "av1", 0.15 * factor, kbps * 2))
    summary, each = tables.bd_rates(found, 512, 8, 40)
    assert summary.rows == [["Gemino against AV1", "-50 %", "1", "1", "0", "<= -62 %"]]
    assert each.rows[0] == ["a", "<= -75 %"]
    assert each.rows[1] == ["b", "-50 % (overlap 100%)"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 1, "clips": []}',
        '{"format": 2, "settings": {}, "points": [{"clip": "a"}]}',
        '{"format": 2, "settings": {}, "points": [7]}',
        '{"format": 2, "settings": 3, "points": []}',
        "[" * 100_000,
    ],
)
def test_a_file_that_holds_no_results_is_a_media_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(content)
    with pytest.raises(MediaError, match="is no result of"):
        results.load(path)


def test_a_page_escapes_what_a_clip_is_called(tmp_path: Path) -> None:
    found = Results(QUICK.identity(), [_point("<script>x</script>", "vp8", 0.2)])
    Outputs(html=tmp_path / "f.html", strip_kbps=15).publish(found)
    page = (tmp_path / "f.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_without_bd_rates_the_rest_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bdrate, "available", lambda: False)
    path = tmp_path / "f.json"
    Outputs(json=path).publish(Results(QUICK.identity(), [_point("a", "vp8", 0.2)]))
    assert "bd_rate" not in json.loads(path.read_text())


def test_what_runs_the_network_is_chosen_and_said(folder: Path) -> None:
    (spec,) = parse("gemino", "generic-s")
    settings = replace(QUICK, precision="float32")
    clip = folder / "face.mp4"
    record = Bench(settings).measure(Task(clip, clip.stem, 256, spec, 15.0))
    assert record["runtime"] == "torch, cpu, float32"
    assert settings.identity()["precision"] == "float32"
    assert not Settings().identity().keys() & {"runtime", "precision"}
    with pytest.raises(RuntimeUnavailable, match="no graphs"):
        Bench(replace(settings, runtime="onnx")).measure(Task(clip, clip.stem, 256, spec, 15.0))


def _changing(make: Callable[[Frame], Frame]) -> list[Frame]:
    return [make(prepare(t.frame, 128)) for t in _first(SAMPLES / "address.mp4", 8)]


@pytest.mark.parametrize("kind", ["black", "ten_bit", "full_range", "variable_rate", "one_frame"])
def test_unusual_clips_are_measured(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.mkv"
    _write_unusual(path, kind)
    for codec in ("bicubic", "vp9"):
        record = Bench(QUICK).measure(_task(path, codec, 30.0))
        assert record["regions_missing"] == "no boxes beside the clip, and no --landmarks"
        assert "lpips_mouth" not in record
        numbers = [value for value in record.values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()
        assert record["psnr_db"] > (90 if kind == "black" else 15)
        json.dumps(record, allow_nan=False)


def test_a_clip_too_small_for_a_codec_is_an_error() -> None:
    task = _task(SAMPLES / "address.mp4", "av1", 30.0)
    with pytest.raises(CodecError):
        Bench(QUICK).measure(Task(task.clip, task.name, 2, task.spec, 30.0))


def test_a_folder_without_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no clip"):
        edition.plan([tmp_path], [256], [Spec("vp8", "vp8")], [15.0], {})


def _write_unusual(path: Path, kind: str) -> None:
    """Eight frames: black, of ten bits, of full range, at odd times, or only one of them."""
    layout = {"ten_bit": "yuv420p10le", "full_range": "yuvj420p"}.get(kind, "yuv420p")
    encoder = {"full_range": "mjpeg"}.get(kind, "ffv1")
    frames = _changing(np.zeros_like if kind == "black" else np.ascontiguousarray)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = 128
        stream.pix_fmt = layout
        stream.codec_context.time_base = Fraction(1, 1000)
        stamps = (
            (0, 20, 110, 130, 200, 280, 285, 400) if kind == "variable_rate" else range(0, 320, 40)
        )
        for frame, stamp in list(zip(frames, stamps, strict=True))[
            : 1 if kind == "one_frame" else 8
        ]:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _first(path: Path, count: int) -> list[Any]:
    frames = read_frames(path)
    return [next(frames) for _ in range(count)]


def _task(clip: Path, codec: str, kbps: float) -> Task:
    (spec,) = parse(codec, "none")
    return Task(clip, clip.stem, 256, spec, kbps)


def _point(clip: str, codec: str, lpips: float, kbps: float = 15.0) -> Record:
    return {
        "clip": clip,
        "size": 512,
        "codec": codec,
        "asked_kbps": kbps,
        "payload_kbps": kbps,
        "onwire_kbps": kbps + 12,
        "lpips": lpips,
        "floor": False,
        "regions_missing": "",
    }
