"""The programs in scripts/: each says what it is for, and what is wrong in one line."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of a script that ends at once; in this process, which has loaded torch."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / name), *arguments])
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_help_says_what_a_script_is_for_and_starts_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run(name, "--help", monkeypatch=monkeypatch)
    assert "usage: " in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("compare_first_reference.py", []),
        ("compare_lr_codecs.py", []),
        ("compare_modes.py", []),
        ("compare_still_codecs.py", []),
        ("results_table.py", []),
        ("write_regions.py", ["--landmarks", __file__]),
        ("personal_figures.py", []),
    ],
)
def test_what_is_not_there_is_one_line(
    name: str,
    before: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(name, *before, "no-such-file", monkeypatch=monkeypatch) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
