import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gemino.errors import MediaError
from gemino.evaluation import report
from gemino.evaluation.pictures import Panel, column, encode, enlarged, face_box, row, save
from gemino.evaluation.report import ClipReport, Score
from gemino.frames import Frame, prepare
from gemino.media import read_frames

SAMPLES = Path(__file__).parents[1] / "samples"

CALL: dict[str, Any] = {
    "payload_kbps": 14.9,
    "reference_bytes": 9876,
    "onwire_kbps": 33.3,
    "frames_sent": 240,
    "frames_shown": 238,
    "frames_interpolated": 0,
    "fps_shown": 29.75,
    "latency_ms": {"p50": 61.0, "p95": 92.5},
    "seconds": 8.0,
    "frames_in_clip": 240,
    "frames_neural": 200,
    "first_neural_s": 1.2,
    "lr_px": 128,
    "lr_codec": "vp8",
    "lr_kbps": 13.6,
    "audio_kbps": 8.1,
    "synthesize_ms": {"p50": 14.0, "p95": 20.0},
    "peak_rss_mb": {"sender": 200.0, "receiver": 600.0},
}


def clip_report(name: str = "webcam", call: dict[str, Any] = CALL) -> ClipReport:
    return ClipReport(
        clip=name,
        size=512,
        model="generic-s",
        call=call,
        scores={
            "gemino": Score(0.0712, 14.9),
            "bicubic": Score(0.401, 13.6),
            "vp8": Score(0.0954, 77.9, floor=True),
            "av1": Score(0.1759, 15.4),
        },
        whole_call_lpips=0.105,
        frames_measured=24,
        every=10,
        picture=encode(np.zeros((8, 8, 3), np.uint8), ".jpg"),
    )


def test_report_json_lists_clips_with_every_figure(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report.write_json(path, [clip_report(), clip_report("address")])
    clips = json.loads(path.read_text())["clips"]
    assert [clip["clip"] for clip in clips] == ["webcam", "address"]
    for name in ("payload_kbps", "reference_bytes", "onwire_kbps", "frames_sent", "frames_shown"):
        assert clips[0][name] == CALL[name]
    assert clips[0]["fps_shown"] == 29.75
    assert clips[0]["latency_ms"] == {"p50": 61.0, "p95": 92.5}
    assert (clips[0]["size"], clips[0]["model"]) == (512, "generic-s")
    assert clips[0]["machine"]["cores"] >= 1
    lpips = clips[0]["lpips"]
    assert (lpips["gemino"], lpips["bicubic"], lpips["vp8"]) == (0.0712, 0.401, 0.0954)
    assert (lpips["av1"], lpips["av1_kbps"], lpips["av1_at_floor"]) == (0.1759, 15.4, False)
    assert (lpips["vp8_kbps"], lpips["vp8_at_floor"]) == (77.9, True)
    assert lpips["gemino_whole_call"] == 0.105


def test_report_html_holds_everything_and_needs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write_html(path, [clip_report("<script>alert(1)</script>")])
    page = path.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "0.071" in page
    assert "77.9 kbps (its floor)" in page
    sources = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert [source.split(",")[0] for source in sources] == ["data:image/jpeg;base64"]
    assert "http" not in page


def test_a_call_that_showed_little_still_makes_a_report(tmp_path: Path) -> None:
    nothing = CALL | {
        "latency_ms": {"p50": None, "p95": None},
        "synthesize_ms": {"p50": None, "p95": None},
        "first_neural_s": None,
    }
    report.write_html(tmp_path / "report.html", [clip_report(call=nothing)])
    assert "never" in (tmp_path / "report.html").read_text()
    console = Console(width=80, record=True, quiet=False, file=(tmp_path / "log").open("w"))
    console.print(report.table([clip_report(call=nothing)]))
    text = console.export_text()
    console.file.close()
    assert "-/-" in text
    assert "238/240" in text
    assert "77.9*" in text


def test_a_report_that_cannot_be_written_is_one_media_error(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "report"
    with pytest.raises(MediaError, match="cannot be written"):
        report.write_json(absent, [clip_report()])
    with pytest.raises(MediaError, match="cannot be written"):
        report.write_html(absent, [clip_report()])
    with pytest.raises(MediaError, match="cannot be written"):
        save(absent, np.zeros((8, 8, 3), np.uint8))


@pytest.fixture(scope="module")
def webcam() -> Frame:
    return prepare(next(read_frames(SAMPLES / "webcam.mp4")).frame, 256)


def test_the_face_is_found(webcam: Frame) -> None:
    box = face_box(webcam)
    # By eye: the face spans from (75, 75) to (155, 180) of 256.
    assert box.left < 85
    assert box.top < 95
    assert box.left + box.side > 140
    assert box.top + box.side > 165
    assert 80 <= box.side <= 180


def test_without_a_face_the_middle_is_taken() -> None:
    assert tuple(face_box(np.zeros((256, 256, 3), np.uint8))) == (64, 64, 128)


def test_panels_stand_side_by_side_under_their_labels(webcam: Frame) -> None:
    panels = [Panel("one", webcam), Panel("another, with a long label " * 5, webcam)]
    whole = row(panels)
    assert whole.shape == (256 + 32, 512, 3)
    assert (whole[32:, 256:] == webcam).all()
    assert whole[:32, :256].max() > 200  # something is written
    assert whole[:32, -4:].max() < 100  # and the long label ends in time
    box = face_box(webcam)
    (closer, _) = enlarged(panels, box)
    assert closer.frame.shape == webcam.shape
    grid = column([whole, row([closer])])
    assert grid.shape == (2 * (256 + 32), 512, 3)
