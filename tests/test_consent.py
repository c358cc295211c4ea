"""Consent to lending: remembered for one file, and for nothing that a damaged list says."""

from pathlib import Path

import numpy as np
import pytest

from gemino.adapters import FILE, Size, to_bytes
from gemino.cli import consent
from gemino.errors import CallError, MediaError, ModelError


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An adapter of somebody who has not been asked yet, and nobody at a terminal."""
    monkeypatch.setattr(consent, "default_file", lambda: tmp_path / "home" / "consents.json")
    monkeypatch.setattr(consent, "_on_terminal", lambda: False)
    return str(write(tmp_path / "ann", 1.0))


def write(folder: Path, value: float) -> Path:
    folder.mkdir(exist_ok=True)
    tensors = {"a.up": np.full((2, 1), value), "a.down": np.ones((1, 2, 1, 1))}
    data = to_bytes("ann", "tiny", "ab" * 32, tensors, np.eye(2, 128), {Size(512, 128)})
    (folder / FILE).write_bytes(data)
    return folder


def answer(monkeypatch: pytest.MonkeyPatch, says: bool) -> list[str]:
    """Somebody at a terminal who says so; the questions that they are asked."""
    asked: list[str] = []

    def confirm(question: str, err: bool) -> bool:
        assert err  # standard output is for figures
        asked.append(question)
        return says

    monkeypatch.setattr(consent, "_on_terminal", lambda: True)
    monkeypatch.setattr("gemino.cli.consent.typer.confirm", confirm)
    return asked


def test_without_consent_nothing_is_lent(adapter: str) -> None:
    with pytest.raises(CallError, match="lent to nobody without consent"):
        consent.lent(adapter)
    with pytest.raises(CallError, match="nobody can be asked here"):
        consent.ask(adapter)
    with pytest.raises(ModelError, match="no adapter"):
        consent.lent("nobody")


def test_a_yes_is_remembered_for_that_file_until_it_is_withdrawn(
    adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as terminal:
        asked = answer(terminal, says=True)
        data = consent.lent(adapter)
        assert data == (Path(adapter) / FILE).read_bytes()
        assert consent.lent(adapter) == data
        assert len(asked) == 1
        assert "is your likeness" in asked[0]
    assert consent.lent(adapter) == data
    assert consent.default_file().stat().st_mode & 0o077 == 0
    write(Path(adapter), 2.0)  # trained anew
    with pytest.raises(CallError, match="without consent"):
        consent.lent(adapter)
    write(Path(adapter), 1.0)
    consent.withdraw(adapter)
    with pytest.raises(CallError, match="without consent"):
        consent.lent(adapter)


def test_a_no_is_asked_again(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, says=False)
    for _ in range(2):
        with pytest.raises(CallError, match="without consent"):
            consent.lent(adapter)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\xff\xfe", b"{}", b'[1, null, [], "yes"]', b"[" * 5000, b'["' + b"a" * 70_000],
)
def test_a_damaged_list_lends_nothing(adapter: str, damaged: bytes) -> None:
    consent.default_file().parent.mkdir()
    consent.default_file().write_bytes(damaged)
    with pytest.raises(CallError, match="without consent"):
        consent.lent(adapter)
    consent.ask(adapter, yes=True)
    assert consent.lent(adapter)


def test_a_list_that_cannot_be_written_is_told(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(consent, "default_file", lambda: tmp_path / "file" / "consents.json")
    with pytest.raises(MediaError, match="cannot be written"):
        consent.ask(adapter, yes=True)
