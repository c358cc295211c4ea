"""The figures of the shipped samples are those that were published.

scripts/regenerate_figures.py makes new ones, where the model or a codec has changed on purpose.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from gemino.evaluation import campaign, edition
from gemino.evaluation.bench import Record, Settings
from gemino.evaluation.specs import parse

ROOT = Path(__file__).parents[1]
EXPECTED: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "figures.json").read_text())
WHAT = EXPECTED["what"]
# Absolute; codecs differ a little from machine to machine, and a network's number format does.
TOLERANCES = {
    "lpips": 0.012,
    "lpips_worst5": 0.02,
    "lpips_mouth": 0.025,
    "lpips_eyes": 0.025,
    "flicker": 0.03,
    "ssim": 0.01,
    "psnr_db": 0.5,
}
RATE_TOLERANCE = 0.06
pytestmark = pytest.mark.timeout(300)  # all is measured in the first test's fixture


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], Record]:
    settings = Settings(WHAT["every"], WHAT["seconds"], WHAT["play_s"])
    specs = parse(",".join(dict.fromkeys(p["codec"] for p in EXPECTED["points"])), WHAT["model"])
    tasks = edition.plan([ROOT / "samples"], [WHAT["size"]], specs, [WHAT["kbps"]], {})
    records = {}
    for outcome in campaign.run(tasks, settings, 1):
        assert outcome.record is not None, outcome.failure
        records[outcome.record["clip"], outcome.record["codec"]] = outcome.record
    return records


@pytest.mark.parametrize("expected", EXPECTED["points"], ids=lambda p: f"{p['clip']}-{p['codec']}")
def test_a_sample_is_coded_as_well_as_ever(
    expected: dict[str, Any], measured: dict[tuple[str, str], Record]
) -> None:
    found = measured[expected["clip"], expected["codec"]]
    assert found["model_sha256"] == expected["model_sha256"], (
        "another model: run scripts/regenerate_figures.py and look at what changed"
    )
    assert found["floor"] == expected["floor"]
    for name in ("payload_kbps", "onwire_kbps"):
        assert found[name] == pytest.approx(expected[name], rel=RATE_TOLERANCE), name
    for name, tolerance in TOLERANCES.items():
        assert found[name] == pytest.approx(expected[name], abs=tolerance), name


def test_both_samples_are_expected_of_every_codec() -> None:
    points = {(p["clip"], p["codec"]) for p in EXPECTED["points"]}
    codecs = {codec for _, codec in points}
    assert {"bicubic", "vp8", "vp9", "av1"} <= codecs
    assert points == {(clip, codec) for clip in ("webcam", "address") for codec in codecs}
