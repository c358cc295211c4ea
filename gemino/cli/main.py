"""`gemino`: the commands, each from its own module."""

from typing import Annotated

import typer

from gemino import __version__
from gemino.cli.bench import bench
from gemino.cli.decode import decode
from gemino.cli.demo import demo
from gemino.cli.doctor import doctor
from gemino.cli.edge import Command, new_app, run
from gemino.cli.encode import encode
from gemino.cli.evaluate import evaluate
from gemino.cli.export import export
from gemino.cli.gallery import gallery
from gemino.cli.personalize import personalize
from gemino.cli.serve import serve
from gemino.cli.signal import PASSED_ON, signal
from gemino.cli.train import train

app = new_app("A neural video-conferencing codec: video calls at 15 kbps.")


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gemino {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_tell_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


app.command(cls=Command)(encode)
app.command(cls=Command)(decode)
app.command(cls=Command)(demo)
app.command(cls=Command)(evaluate)
app.command(cls=Command)(train)
app.command(cls=Command)(personalize)
app.command(cls=Command)(export)
app.command(cls=Command)(bench)
app.command(cls=Command)(doctor)
app.command(cls=Command)(serve)
app.add_typer(gallery, name="gallery")
app.command(context_settings=PASSED_ON)(signal)


def main() -> None:
    """Entry point of the `gemino` command."""
    run(app)
