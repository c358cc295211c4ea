"""A personal adapter where models are used: named beside one, found by checksum, and refused."""

import json
import shutil
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gemino import adapters
from gemino.adapters import Size
from gemino.cli.main import main
from gemino.config import Fovea, Sampling
from gemino.errors import ModelError
from gemino.faces import shipped
from gemino.frames import prepare
from gemino.identity import choose, describe
from gemino.media import read_frames
from gemino.nn.adapter import LowRank, layers, to_arrays
from gemino.runtime import open_synthesizer
from gemino.runtime.guarded import GuardedSynthesizer
from gemino.runtime.torch_runtime import TorchSynthesizer, load_network
from gemino.zoo import DEFAULT_MODEL, ModelFiles, adapted, find
from training_clips import ADDRESS, WEBCAM, write_talk

SIZES = {Size(256, 128)}

pytestmark = pytest.mark.timeout(300)


def tensors(files: ModelFiles) -> dict[str, NDArray[np.floating]]:
    """An adapter that brightens: every last layer's bias goes up."""
    parts = {}
    for name, layer in layers(load_network(files)).items():
        if name == "generator.residual":
            up, down = torch.zeros(len(layer.weight), 1), torch.zeros(1, *layer.weight.shape[1:])
            parts[name] = LowRank(up, down, torch.full((len(up),), 0.1))
    return dict(to_arrays(parts))


def likeness() -> NDArray[np.float16]:
    """Of whoever speaks in the shipped address."""
    detector = shipped()
    frames = [prepare(timed.frame, 128) for timed in islice(read_frames(ADDRESS), 60)]
    return choose([x for x in map(partial(describe, detector), frames[::6]) if x is not None])


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a user who has the adapter `me`."""
    files = find(DEFAULT_MODEL)
    folder = tmp_path / "models" / "personal" / "me"
    folder.mkdir(parents=True)
    data = adapters.to_bytes(
        "me", files.config.name, files.sha256, tensors(files), likeness(), SIZES
    )
    (folder / adapters.FILE).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    write_talk(tmp_path / "talk.mkv", 12)
    write_talk(tmp_path / "other.mkv", 12, (WEBCAM,))
    return tmp_path


def gemino(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["gemino", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_model_is_named_with_its_adapter(me: Path) -> None:
    plain, mine = find(DEFAULT_MODEL), find("generic-s+me")
    assert mine.adapter is not None
    assert (plain.title, mine.title) == ("generic-s", "generic-s+me")
    assert mine.hint == f"generic-s+sha256:{mine.adapter.sha256[:16]}"
    assert find(mine.hint).adapter is not None
    assert find(adapted(plain.path, me / "models/personal/me")).adapter is not None
    with pytest.raises(ModelError, match="no adapter 'nobody'"):
        find("generic-s+nobody")
    with pytest.raises(ModelError, match="needs 16 digits"):
        find("generic-s+sha256:12")
    with pytest.raises(ModelError, match="no adapter here has the SHA-256"):
        find("generic-s+sha256:0123456789abcdef")


def test_an_adapter_for_other_weights_is_refused(me: Path) -> None:
    files = find(DEFAULT_MODEL)
    data = adapters.to_bytes("me", files.config.name, "0" * 64, tensors(files), likeness(), SIZES)
    (me / "models/personal/me" / adapters.FILE).write_bytes(data)
    with pytest.raises(ModelError, match="trained on another model"):
        find("generic-s+me")


def test_the_runtime_draws_with_it(me: Path) -> None:
    assert me.is_dir()
    noise = np.random.default_rng(0).integers(60, 160, (128, 128, 3), np.uint8)
    shown = []
    for name in ("generic-s", "generic-s+me"):
        synthesizer = TorchSynthesizer(find(name), 256, device="cpu", precision="float32")
        assert synthesizer.name == name
        synthesizer.add_reference(noise)
        shown.append(synthesizer.synthesize(noise, Sampling(128), -5.0).astype(int))
    brighter = (shown[1] - shown[0]).mean()
    assert 20 < brighter < 30  # 0.1 of 255


def test_a_file_finds_its_adapter_by_checksum_and_goes_without_where_it_is_gone(
    me: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        "encode",
        "talk.mkv",
        "-o",
        "talk.gem",
        "--size",
        "256",
        "--kbps",
        "40",
        "--adapter",
        "me",
        "--json",
    )
    assert gemino(monkeypatch, *words) == 0
    made_for = json.loads(capfd.readouterr().out)["model"]
    assert made_for.startswith("generic-s+sha256:")
    assert b"+me" not in Path("talk.gem").read_bytes()  # whose face it is, nobody needs to know

    def model(*more: str) -> tuple[str, str]:
        assert gemino(monkeypatch, "decode", "talk.gem", "-o", "out.mkv", "--json", *more) == 0
        told = capfd.readouterr()
        return json.loads(told.out)["model"], told.err

    assert model() == ("generic-s+me", "")
    shutil.move("other.mkv", "talk.mkv")  # somebody else, with the adapter of the first
    assert gemino(monkeypatch, *words) == 0
    capfd.readouterr()
    name, note = model()
    assert name == "generic-s+me"
    assert "another face is seen" in note
    shutil.rmtree(me / "models")
    name, note = model()
    assert name == "generic-s"
    assert "rebuilt without its adapter" in note
    assert gemino(monkeypatch, "decode", "talk.gem", "-o", "out.mkv", "--adapter", "me") == 2
    assert "no adapter 'me'" in capfd.readouterr().err


def test_somebody_else_is_not_drawn_with_it(me: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn: dict[str, list[int]] = {}
    with caplog.at_level("WARNING"):
        for clip in ("talk.mkv", "other.mkv"):
            plain, mine = (open_synthesizer(name, 256) for name in ("generic-s", "generic-s+me"))
            drawn[clip] = []
            for timed in read_frames(me / clip):
                lr = prepare(timed.frame, 128)
                if not drawn[clip]:
                    plain.add_reference(timed.frame)
                    mine.add_reference(timed.frame)
                mine.watch(lr)
                pair = [one.synthesize(lr, Sampling(128), -5.0).mean() for one in (mine, plain)]
                drawn[clip].append(round(float(pair[0] - pair[1])))
    assert drawn["talk.mkv"][:6] == [0] * 6  # not yet sure
    assert min(drawn["talk.mkv"][6:]) > 15  # brighter, as this adapter draws
    assert drawn["other.mkv"] == [0] * 12
    assert "the face in the stream is another one" in caplog.text
    guarded = open_synthesizer("generic-s+me", 256)
    assert isinstance(guarded, GuardedSynthesizer)
    assert not guarded.personal  # until it knows


def test_sizes_that_it_was_not_judged_at_are_drawn_without_it(me: Path) -> None:
    plain, mine = (open_synthesizer(name, 256) for name in ("generic-s", "generic-s+me"))
    assert isinstance(mine, GuardedSynthesizer)
    frames = [timed.frame for timed in read_frames(me / "talk.mkv")]
    for one in (plain, mine):
        one.add_reference(frames[0])
    for frame in frames:
        mine.watch(prepare(frame, 128))
    assert mine.personal

    def brighter(sampling: Sampling) -> float:
        lr = prepare(frames[-1], sampling.size_px)
        shown = [one.synthesize(lr, sampling, -5.0).mean() for one in (mine, plain)]
        return round(float(shown[0] - shown[1]))

    assert brighter(Sampling(128)) > 15
    assert brighter(Sampling(64)) == 0
    assert brighter(Sampling(128, Fovea(16, 16, 7))) == 0


def test_an_adapter_needs_a_model(
    me: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert me.is_dir()
    words = ("encode", "talk.mkv", "-o", "talk.gem", "--model", "none", "--adapter", "me")
    assert gemino(monkeypatch, *words) == 2
    assert "--adapter changes a model" in capfd.readouterr().err
    assert gemino(monkeypatch, "export", "-o", "graphs", "--model", "generic-s+me") == 2
    assert "name the model alone" in capfd.readouterr().err
