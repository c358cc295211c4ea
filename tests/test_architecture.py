"""The rules of docs/architecture.md hold, and each of them can fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from architecture import (
    RULES,
    Rule,
    aiortc_privates,
    arrows,
    async_outside,
    cycles,
    environment,
    formats,
    import_work,
    torch_outside,
    unplaced,
)
from module_tree import Module, read_tree

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tree() -> dict[str, Module]:
    return read_tree(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_keeps_the_rule(rule: Rule, tree: dict[str, Module]) -> None:
    assert list(rule(tree)) == []


# (rule, the file that breaks it, its text, what is said of it)
BROKEN: list[tuple[Rule, str, str, str]] = [
    (arrows, "gemino/config.py", "import gemino.encoder", "1: imports gemino.encoder, which"),
    (arrows, "gemino/encoder.py", "from gemino import decoder", "1: imports gemino.decoder, which"),
    (arrows, "gemino/call/peer.py", "from ..evaluation import report", "1: imports gemino.evalua"),
    (arrows, "gemino/encoder.py", "def f():\n import gemino.cli", "2: imports gemino.cli, which"),
    (arrows, "gemino/wire.py", "import gemino", "1: imports gemino, which is not below it"),
    (arrows, "gemino/stuff.py", "", "1: has no floor"),
    (arrows, "gemino/wire.py", "import signaling", "1: imports signaling"),
    (arrows, "signaling/server.py", "import gemino.errors", "1: imports gemino.errors: signaling"),
    (
        cycles,
        "gemino/errors.py",
        "def f():\n from gemino import frames",
        "1: cycle gemino.errors ->",
    ),
    (cycles, "gemino/wire.py", "import gemino.wire", "1: cycle gemino.wire -> gemino.wire"),
    (torch_outside, "gemino/encoder.py", "def f():\n import torch", "2: imports torch"),
    (torch_outside, "gemino/call/peer.py", "from torch.nn import Module", "1: imports torch.nn"),
    (
        torch_outside,
        "gemino/zoo.py",
        "from safetensors import torch",
        "1: imports safetensors.torch",
    ),
    (
        torch_outside,
        "gemino/decoder.py",
        "from gemino.nn import net",
        "1: loads gemino.nn.net when",
    ),
    (
        torch_outside,
        "gemino/cli/main.py",
        "import gemino.runtime.torch_runtime",
        "1: loads gemino.nn.net when",
    ),
    (aiortc_privates, "gemino/call/peer.py", "from aiortc.rtp import _x", "1: imports aiortc's _x"),
    (
        aiortc_privates,
        "gemino/call/peer.py",
        "from aiortc import RTCRtpSender as S\nS._next = 1",
        "2: uses aiortc's _next",
    ),
    (
        aiortc_privates,
        "gemino/call/peer.py",
        "import aiortc.rtcrtpsender as r\nr.get_encoder = None",
        "2: changes aiortc's get_encoder",
    ),
    (
        aiortc_privates,
        "gemino/call/peer.py",
        "def f(s):\n s._RTCRtpSender__encoder = None",
        "2: uses the mangled name _RTCRtpSender__encoder",
    ),
    (
        aiortc_privates,
        "gemino/call/peer.py",
        "def f(s):\n setattr(s, '_RTCRtpSender__encoder', None)",
        "2: reaches for _RTCRtpSender__encoder with setattr",
    ),
    (
        aiortc_privates,
        "gemino/call/peer.py",
        "import aiortc\ndef f():\n setattr(aiortc.codecs, 'CODECS', None)",
        "3: reaches for CODECS with setattr",
    ),
    (async_outside, "gemino/call/states.py", "async def f(): ...", "1: async def f"),
    (environment, "gemino/config.py", "import os\nX = os.environ['X']", "2: uses environ"),
    (environment, "gemino/config.py", "import os\nX = os.getenv('X')", "2: uses getenv"),
    (environment, "gemino/config.py", "from os import environ", "1: imports environ"),
    (formats, "gemino/config.py", "def f():\n import yaml", "2: imports yaml"),
    (formats, "gemino/config.py", "import pickle", "1: imports pickle"),
    (formats, "gemino/call/utils.py", "", "1: name it after what it holds"),
    (import_work, "gemino/config.py", "print('hello')", "1: runs Expr at import"),
    (import_work, "gemino/config.py", "for x in []: pass", "1: runs For at import"),
    (import_work, "gemino/config.py", "with open('x'): pass", "1: runs With at import"),
]

SOUND = {
    "gemino/__init__.py": "import logging\nlogging.getLogger().addHandler(logging.NullHandler())",
    "gemino/errors.py": '"""Words."""\nclass E(Exception): ...',
    "gemino/frames.py": "from gemino.errors import E",
    "gemino/config.py": "X = 1",
    "gemino/wire.py": "from .errors import E",
    "gemino/nn/net.py": "import torch",
    "gemino/runtime/torch_runtime.py": "from gemino.nn import net",
    "gemino/zoo.py": "def f():\n from gemino.runtime import torch_runtime",
    "gemino/encoder.py": "TYPE_CHECKING = 0\nif TYPE_CHECKING:\n import gemino.nn.net",
    "gemino/decoder.py": "def f():\n from gemino import zoo",
    "gemino/call/states.py": "from gemino.call import peer",
    "gemino/call/peer.py": "import os, signaling\nasync def f(): return {**os.environ, 'X': 1}",
    "gemino/call/payload.py": "import aiortc\ndef f(s): s._RTCRtpSender__encoder = aiortc._x",
    "gemino/cli/main.py": "import gemino.call.peer\nprint()",
    "signaling/__init__.py": "async def serve(): ...",
}


def build(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("rule", RULES)
def test_a_sound_tree_passes(rule: Rule, tmp_path: Path) -> None:
    assert list(rule(read_tree(build(tmp_path, SOUND)))) == []


@pytest.mark.parametrize(("rule", "path", "text", "said"), BROKEN)
def test_a_broken_rule_is_found(
    rule: Rule, path: str, text: str, said: str, tmp_path: Path
) -> None:
    found = list(rule(read_tree(build(tmp_path, SOUND | {path: text}))))
    name = path.removesuffix(".py").replace("/", ".")
    assert any(one.startswith(f"{name}:{said}") for one in found), found


def test_every_module_has_its_place_in_the_document(tree: dict[str, Module]) -> None:
    document = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert list(unplaced(tree, document)) == []


def test_a_module_without_a_place_is_found(tmp_path: Path) -> None:
    tree = read_tree(build(tmp_path, SOUND))
    document = """errors.py frames.py config.py wire.py zoo.py encoder.py decoder.py nn/ {net}
        runtime/ {torch_runtime}\n| `call/` | a | `states` |\n| | b | `peer` |\n| `cli/` | c | |"""
    found = [line.split(":")[0] for line in unplaced(tree, document)]
    assert found == ["gemino.call.payload", "gemino.cli.main"]


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, *_ in BROKEN} == set(RULES)


def test_a_sender_loads_no_torch() -> None:
    program = "import sys, gemino.encoder; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
