"""`gemino gallery`: what `gemino-call --gallery` keeps between calls."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gemino.cli import consent
from gemino.cli.edge import Command, new_app
from gemino.errors import MediaError
from gemino.gallery import Gallery, default_folder, default_key

gallery = new_app("What calls with --gallery keep for the next one, and what they may lend.")

_Folder = Annotated[
    Path | None, typer.Option("--gallery", metavar="FOLDER", help="Another gallery than your own.")
]


@gallery.command("list", cls=Command)
def list_items(folder: _Folder = None) -> None:
    """Say what is kept: kind, size, when it was last used, and a name."""
    items = [] if _is_missing(folder) else _open(folder).items()
    for item in items:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.used_at))
        typer.echo(f"{item.kind:<9}{item.size_bytes:>9,} bytes  {used}  {item.sha256[:4].hex()}")
    if not items:
        typer.echo("nothing is kept; gemino-call --gallery keeps references")


@gallery.command("forget", cls=Command)
def forget(
    names: Annotated[
        list[str] | None, typer.Argument(help="As in the last column of `gemino gallery list`.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    folder: _Folder = None,
) -> None:
    """Delete what is kept of some pictures, or of all."""
    if everything == bool(names):
        raise MediaError("name what is to be forgotten, or say --all")
    if everything and _is_missing(folder):
        typer.echo("forgot 0")
        return
    kept = _open(folder)
    if everything:
        typer.echo(f"forgot {kept.forget()}")
        return
    items = kept.items()
    for name in names or []:
        found = [item for item in items if item.sha256.hex().startswith(name.lower())]
        if not found or len(name) < 4:
            raise MediaError(f"{name}: nothing of that name is kept; gemino gallery list names all")
        for item in found:
            kept.forget(item)
            typer.echo(f"forgot {item.sha256[:4].hex()}")


@gallery.command("lend", cls=Command)
def lend(
    name: Annotated[str, typer.Argument(help="Your own adapter: a name or a folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Consent without being asked.")] = False,
    never: Annotated[bool, typer.Option("--never", help="Withdraw your consent.")] = False,
) -> None:
    """Say whether calls may lend your adapter to the other side (gemino-call --lend)."""
    if yes and never:
        raise MediaError("say --yes or --never, not both")
    if never:
        consent.withdraw(name)
        typer.echo(f"{name} is lent to nobody any more; who has it keeps it until they forget it")
    elif consent.ask(name, yes=yes):
        typer.echo(f"gemino-call --lend {name} may lend it")
    else:
        typer.echo(f"{name} is lent to nobody")


def _is_missing(folder: Path | None) -> bool:
    """Nobody has kept anything yet: looking must not make a gallery and a key."""
    return folder is None and not default_folder().is_dir()


def _open(folder: Path | None) -> Gallery:
    if folder is not None and not folder.is_dir():
        raise MediaError(
            f"{folder}: there is no such folder; gemino-call --gallery FOLDER makes one"
        )
    return Gallery(folder or default_folder(), default_key())
