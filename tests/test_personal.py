"""Personalizations from start to finish, small: an adapter that wins, one that does not."""

import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from gemino import adapters
from gemino.adapters import Size
from gemino.cli.main import main
from gemino.config import ModelConfig
from gemino.errors import MediaError, ModelError
from gemino.nn.adapter import attach
from gemino.nn.model import build
from gemino.personal import program
from gemino.personal.many import Outcome, people, run_many, summary
from gemino.personal.program import PersonalOptions, run
from gemino.zoo import find, write_config
from personal_clips import talk

pytestmark = pytest.mark.timeout(400)  # processes that import torch, on a machine that may be busy


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(1)
    network = build(ModelConfig("noisy", "xs"))
    torch.nn.init.normal_(network.generator.residual.weight, std=0.02)  # what it draws is noise
    (home / "noisy").mkdir()
    save_file(network.state_dict(), home / "noisy" / "model.safetensors")
    write_config(home / "noisy", network.config)
    talk(home / "me.mp4", count=126)
    return home


def options(home: Path, name: str) -> PersonalOptions:
    """A training of a moment, of a network that draws noise and so has much to learn."""
    return PersonalOptions(
        [home / "me.mp4"],
        name,
        str(home / "noisy"),
        steps=6,
        rank=2,
        batch=1,
        views=1,
        output_px=128,
        crop_px=64,
        learning_rate=0.01,
        validate_every=2,
        save_every_s=0,
        device="cpu",
        mixed_precision=False,
        threads=1,
        runs=home / "runs",
        models=home / "models",
    )


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


def told(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_video_becomes_an_adapter_also_when_interrupted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(home, "me")

    def interrupted(self: program._Best, seen: object) -> None:
        del seen
        self.trainer.stop()

    with monkeypatch.context() as patched:
        patched.setattr(program._Best, "look", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(asked, quiet())
    console = quiet()
    result = run(asked, console)
    written = result.folder
    assert result.verdict.gain > 0.01
    assert "going on from step " in told(console)
    assert "me.mp4: " not in told(console)  # the footage was there already
    assert written == home / "models" / "me"
    files = find(f"{home / 'noisy'}+{written}")
    assert files.adapter is not None
    assert (files.adapter.name, files.adapter.base) == ("me", "noisy")
    assert (written / adapters.FILE).stat().st_size < 50_000
    card = (written / "card.md").read_text()
    assert "| as filmed, 128 px | av1, 128 px, 8 kbps |" in card
    assert "(the face was found by\nblazeface)" in card
    assert "| in another light, 128 px | av1, 128 px, 14 kbps |" in card
    assert files.adapter.serves == result.verdict.serves
    assert files.adapter.serves <= {Size(128, lr_px) for lr_px in (64, 128, 192, 256)}
    assert files.adapter.sha256 in card
    for picture in ("before-after.png", "contact.png"):
        assert (written / picture).stat().st_size > 5_000
    left = sorted(path.name for path in (home / "runs" / "me").iterdir())
    assert left == ["contact.png"]  # nothing else of the footage stays


def test_a_checkpoint_of_something_else_is_refused(home: Path) -> None:
    asked = options(home, "other")
    folder = home / "runs" / "other"
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(b"of other videos")
    (folder / "begun.json").write_text("[]")
    with pytest.raises(ModelError, match="begin anew with --no-resume"):
        run(asked, quiet())


def test_of_many_people_each_gets_an_adapter_or_a_reason(home: Path) -> None:
    folder = home / "people"
    (folder / "ann").mkdir(parents=True)
    shutil.copyfile(home / "me.mp4", folder / "ann" / "first.mp4")
    talk(folder / "bob.mp4", count=40)
    (folder / "notes.txt").write_text("no video")
    found = people(folder)
    assert list(found) == ["ann", "bob"]
    heard: list[Outcome] = []
    ann, bob = run_many(found, options(home, ""), 2, heard.append)
    assert (ann.gain or 0) > 0.01
    assert ann.failure is None
    assert bob.failure is not None
    assert "too short" in bob.failure
    assert {one.name for one in heard} == {"ann", "bob"}
    again = run_many({"ann": found["ann"]}, options(home, ""), 1, heard.append)
    assert again == [Outcome("ann")]  # kept
    assert len(summary([ann, bob, *again]).rows) == 3


def test_a_training_that_does_not_help_ends_early_and_keeps_nothing(home: Path) -> None:
    asked = replace(options(home, "long"), steps=500, learning_rate=1e-9, validate_every=1)
    console = quiet()
    with pytest.raises(ModelError, match=r"no better than noisy .* is not kept"):
        run(asked, console)
    assert told(console).count("step ") < 60
    assert not (home / "models" / "long").exists()


def test_a_disk_that_is_too_small_is_noticed_before(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home)._replace(free=1_000_000)
    monkeypatch.setattr("gemino.personal.program.shutil.disk_usage", lambda _: usage)
    with pytest.raises(MediaError, match="the disk has 1 MB left, 20"):
        run(options(home, "full"), quiet())


def test_an_adapter_that_would_be_too_large_is_refused_before_it_is_trained() -> None:
    network = build(ModelConfig("large", "l"))
    attach(network, 24)
    with pytest.raises(ModelError, match=r"use --rank \d+$"):
        program._check_size(network, 24)


def test_a_video_that_is_not_there_leaves_nothing_behind(home: Path) -> None:
    asked = options(home, "absent")
    with pytest.raises(MediaError, match=r"none\.mp4: no such file"):
        run(replace(asked, videos=[home / "none.mp4"]), quiet())
    assert not (asked.runs / "absent").exists()


def test_only_a_model_itself_is_personalized(home: Path) -> None:
    files = find(home / "noisy")
    tensors = {"generator.up8.up": torch.zeros(64, 1).numpy()}
    tensors["generator.up8.down"] = torch.zeros(1, 20, 1, 1).numpy()
    data = adapters.to_bytes("you", "noisy", files.sha256, tensors, np.eye(1, 128), {Size(128, 64)})
    (home / "you.safetensors").write_bytes(data)
    adapted = f"{home / 'noisy'}+{home / 'you.safetensors'}"
    with pytest.raises(ModelError, match="no adapter"):
        run(replace(options(home, "twice"), model=adapted), quiet())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "a/b"], "--name must be"),
        ([], "name the videos of one person, or --record SECONDS, with --name"),
        (["--name", "me", "--many", "x"], "name neither any nor --name"),
        (["--name", "me", "--device", "abacus"], "--device must be"),
        (["--name", "me", "--model", "nothing"], "no model 'nothing'"),
    ],
)
def test_wrong_options_are_refused_at_once(
    words: list[str],
    said: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["gemino", "personalize", str(home / "me.mp4"), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capfd.readouterr().err
