"""The package as a stranger gets it: public names, and a wheel that works outside the checkout."""

import ast
import importlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import gemino

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What the command prints; its errors become the test's."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_are_sorted_and_there() -> None:
    assert gemino.__all__ == sorted(gemino.__all__)
    for name in gemino.__all__:
        assert getattr(gemino, name) is not None
        assert name in dir(gemino)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        getattr(gemino, "Nonsense")  # noqa: B009 (mypy knows that the attribute is not there)


def test_every_public_name_is_declared_for_type_checkers_where_it_lives() -> None:
    tree = ast.parse((ROOT / "gemino" / "__init__.py").read_text("utf-8"))
    declared = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gemino")
        for alias in node.names
    }
    assert sorted(declared) == gemino.__all__
    for name, home in declared.items():
        assert getattr(importlib.import_module(home or ""), name) is getattr(gemino, name)


def test_every_error_is_a_gemino_error() -> None:
    for name in gemino.__all__:
        if name.endswith("Error") or name == "RuntimeUnavailable":
            assert issubclass(getattr(gemino, name), gemino.GeminoError)


def test_importing_gemino_loads_nothing_heavy() -> None:
    program = (
        "import sys, gemino\n"
        "print({'torch', 'av', 'cv2', 'numpy', 'aiortc', 'aiohttp'} & set(sys.modules) or 'light')"
    )
    assert run(sys.executable, "-c", program) == "light\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel, and this one's packages for what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("gemino-*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    # Appended to the path, so the wheel comes first; .pth files in there are not followed, which
    # keeps this checkout, installed as editable, out of sight.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def test_the_wheel_holds_the_code_and_the_models(installed: Path) -> None:
    program = (
        "import gemino, signaling, pathlib\n"
        "print(pathlib.Path(gemino.__file__).parent)\n"
        "print(pathlib.Path(signaling.__file__).parent)"
    )
    package, server = map(
        Path, run(installed / "venv/bin/python", "-c", program, cwd=installed).split()
    )
    assert package.is_relative_to(installed)
    assert server.is_relative_to(installed)
    for source in (ROOT / "models").rglob("*"):
        if source.is_file():
            copy = package / "models" / source.relative_to(ROOT / "models")
            assert copy.stat().st_size == source.stat().st_size
    for source in (ROOT / "web").iterdir():
        assert (package / "web" / source.name).read_bytes() == source.read_bytes()
    assert (package / "py.typed").is_file()


def test_the_wheel_finds_its_models_from_anywhere(installed: Path) -> None:
    program = "from gemino import zoo; print(*zoo.names())"
    found = run(installed / "venv/bin/python", "-c", program, cwd=installed).split()
    assert found == sorted(path.parent.name for path in (ROOT / "models").glob("*/config.toml"))
    program = "from gemino.runtime.perceptual import load_lpips; print(load_lpips())"
    assert "Lpips(" in run(installed / "venv/bin/python", "-c", program, cwd=installed)


@pytest.mark.parametrize("command", ["gemino", "gemino-call"])
def test_the_commands_run_from_anywhere(command: str, installed: Path) -> None:
    assert "--help" in run(installed / "venv" / "bin" / command, "--help", cwd=installed)


def test_the_server_runs_from_anywhere(installed: Path) -> None:
    said = run(installed / "venv/bin/python", "-m", "signaling", "--help", cwd=installed)
    assert "--port" in said


def test_the_version_is_the_same_everywhere(installed: Path) -> None:
    (wheel,) = installed.glob("gemino-*.whl")
    assert wheel.name == f"gemino-{gemino.__version__}-py3-none-any.whl"
