"""Whole trainings in processes of their own: two that share the work, and one that is killed."""

import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from gemino.cli.main import main
from gemino.training.program import TrainingOptions, run, show_batch
from training_clips import SIDE, write_talk

pytestmark = pytest.mark.timeout(400)  # processes that import torch, on a machine that may be busy

STEPS = 3
WORKER = Path(__file__).parent / "training_worker.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clips, cache, runs and models lie; all trainings of this file share the cache."""
    home = tmp_path_factory.mktemp("home")
    (home / "clips").mkdir()
    write_talk(home / "clips" / "talk.mkv", 12)
    (home / "clips" / "junk.mp4").write_bytes(b"no video at all")
    return home


def options(home: Path, name: str, **changes: int) -> TrainingOptions:
    """A training of three steps of two examples each, one after the other."""
    given = {"batch": 1, "accumulate": 2, **changes}
    return TrainingOptions(
        home / "clips",
        name,
        size="xs",
        minutes=1e6,
        steps=STEPS,
        batch=given["batch"],
        accumulate=given["accumulate"],
        output_px=SIDE,
        crop_px=64,
        views=1,
        device="cpu",
        mixed_precision=False,
        threads=1,
        cache=home / "cache",
        runs=home / "runs",
        models=home / "models",
        save_every_s=0,
    )


def launch(
    home: Path, name: str, launcher: list[str], accumulate: int, fatal_step: int = -1
) -> subprocess.CompletedProcess[str]:
    """The same training by the command line, in processes of its own."""
    words = f"--size xs --minutes 1e6 --steps {STEPS} --batch 1 --accumulate {accumulate} "
    words += f"--output-px {SIDE} --crop-px 64 --views 1 --device cpu --no-mixed-precision "
    words += f"--threads 1 --save-every 0 --name {name}"
    folders = [f"--{kind}={home / kind}" for kind in ("cache", "runs", "models")]
    command = [sys.executable, *launcher, str(WORKER), str(fatal_step), str(home / "clips")]
    return subprocess.run(
        [*command, *words.split(), *folders],
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )


@pytest.fixture(scope="module")
def weights(home: Path) -> dict[str, Tensor]:
    """The whole checkpoint, moments and average too, of a training that nothing disturbed."""
    run(options(home, "undisturbed"), "", Console(quiet=True))
    return load_file(home / "runs" / "undisturbed" / "checkpoint.safetensors")


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Bit by bit."""
    assert first.keys() == second.keys()
    for name, x in first.items():
        assert torch.equal(x, second[name]), name


def test_two_workers_walk_the_path_of_one_with_twice_the_examples(
    home: Path, weights: dict[str, Tensor]
) -> None:
    done = launch(home, "shared", TORCHRUN, accumulate=1)
    assert done.returncode == 0, done.stderr
    folder = home / "runs" / "shared"
    assert_equal(
        load_file(folder / "worker0.safetensors"), load_file(folder / "worker1.safetensors")
    )
    assert_equal(load_file(folder / "checkpoint.safetensors"), weights)
    for rank in (0, 1):
        assert "workers differ in rank" in (folder / f"worker{rank}.txt").read_text()
    # One leads, and only it talks.
    assert done.stderr.count("left out: junk.mp4") == 1
    assert done.stderr.count("the model is in") == 1
    card = (home / "models" / "shared" / "card.md").read_text()
    assert "torchrun --nproc-per-node 2 -- scripts/train.py" in card
    assert f"{STEPS} steps of 2 examples" in card


def test_a_training_killed_in_mid_step_goes_on_to_the_very_same_weights(
    home: Path, weights: dict[str, Tensor]
) -> None:
    killed = launch(home, "killed", [], accumulate=2, fatal_step=2)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = home / "runs" / "killed"
    assert not (home / "models" / "killed").exists()
    (folder / "checkpoint.partial").write_bytes(b"half a checkpoint")
    said = StringIO()
    run(options(home, "killed"), "", Console(file=said, width=200))
    assert "going on from step 2" in said.getvalue()
    assert "clips left out: 1\n  junk.mp4: cannot be read" in said.getvalue()
    assert_equal(load_file(folder / "checkpoint.safetensors"), weights)


def test_the_card_and_its_facts_count_what_was_left_out(
    home: Path, weights: dict[str, Tensor]
) -> None:
    assert weights
    folder = home / "models" / "undisturbed"
    assert '"clips_left_out" = 1' in (folder / "config.toml").read_text()
    assert "junk.mp4 (cannot be read as video" in (folder / "card.md").read_text()


def test_a_dry_run_shows_a_batch_and_trains_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = show_batch(options(home, "dry", batch=3), Console(stderr=True))
    assert path == home / "runs" / "dry" / "batch.png"
    assert str(path) in capsys.readouterr().err
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (3 * SIDE, 3 * SIDE, 3)
    rows = picture[..., ::-1].reshape(3, SIDE, 3, SIDE, 3).transpose(0, 2, 1, 3, 4).astype(int)
    for _, lr, target in rows:
        assert lr.std() > 10
        window = (np.abs(target - (255, 220, 0)).max(axis=2) == 0).sum()
        # An outline, a pixel thin: of LPIPS's window, or of the smaller one on the face.
        assert window in (4 * 64 - 4, 4 * 32 - 4)
        outside = np.abs(target - (255, 220, 0)).max(axis=2) > 0
        assert np.abs(lr - target)[outside].mean() < 20  # the same moment, mirrored alike
    assert not (home / "models" / "dry").exists()
    assert [entry.name for entry in path.parent.iterdir()] == ["batch.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--name ../up", "--name must be letters"),
        ("--name x --device gpu", "--device must be auto, cpu or cuda"),
        ("--name x --size m", "--size must be xs, s or l"),
        ("--name x --output-px 260", "--output-px must be a multiple of 8"),
        ("--name x --output-px 128 --crop-px 256", "--crop-px no larger"),
        ("--name x --learning-rate nan", "--learning-rate must be over 0"),
        ("--name x --minutes inf", "--minutes must be a number"),
        ("--name x --dry-run", "is not a folder"),
    ],
)
def test_what_cannot_work_is_refused_at_once_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    says: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["gemino", "train", str(tmp_path / "none"), *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
