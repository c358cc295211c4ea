"""Whether an adapter may be lent: its owner is asked once, and the answer is remembered.

Consent is to one file, by its SHA-256: an adapter that is trained anew is asked for anew. It lies
in a file of its own, which holds no more than hashes; without it nothing is lent.
"""

import json
import re
import sys
from pathlib import Path

import typer

from gemino.adapters import find_data
from gemino.errors import CallError, MediaError

_MAX_BYTES = 64 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_QUESTION = """\
The adapter {name!r} is your likeness: {size:,} bytes, with which a network draws you. The other
side of a call will have it, and keep it for the next one if it keeps a gallery. It cannot be taken
back. Lend it to whom you call with --lend {name}?"""


def default_file() -> Path:
    """Where a user's consents lie."""
    return Path.home() / ".config" / "gemino" / "consents.json"


def lent(name: str) -> bytes:
    """The file of the adapter `name`, with its owner's consent: given before, or now.

    Raises CallError without it, ModelError where there is no such adapter.
    """
    found, data = find_data(name)
    if found.sha256 in _given() or (_on_terminal() and ask(name)):
        return data
    raise CallError(f"{name} is lent to nobody without consent: gemino gallery lend {name}")


def ask(name: str, *, yes: bool = False) -> bool:
    """Ask whether the adapter `name` may be lent, and remember a yes; yes: that is the answer."""
    found, data = find_data(name)
    if not yes and not _on_terminal():
        raise CallError("nobody can be asked here: gemino gallery lend NAME --yes")
    if not yes and not typer.confirm(_QUESTION.format(name=found.name, size=len(data)), err=True):
        return False
    _write(_given() | {found.sha256})
    return True


def withdraw(name: str) -> None:
    """Lend the adapter `name` no more."""
    found, _ = find_data(name)
    _write(_given() - {found.sha256})


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _given() -> frozenset[str]:
    """SHA-256 of each adapter that may be lent; nothing of a file that makes no sense."""
    try:
        with default_file().open("rb") as file:
            known = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return frozenset()
    if not isinstance(known, list):
        return frozenset()
    return frozenset(x for x in known if isinstance(x, str) and _SHA256.fullmatch(x))


def _write(given: frozenset[str]) -> None:
    path = default_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(".partial")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(sorted(given)))
        draft.replace(path)
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
