"""What a call brings where nothing is named: a camera and a window, or a browser's page."""

from dataclasses import replace

import typer

from gemino.cli import browser
from gemino.cli.outputs import Kept
from gemino.cli.sending import FIRST_CAMERA, Sending


def completed(sending: Sending, kept: Kept) -> tuple[Sending, Kept]:
    """Both as they are where something is named; else what people would call with, and say so."""
    named = (
        *(sending.camera, sending.clip, sending.browser, sending.mic, sending.test_pattern),
        sending.screen,
        *(kept.show, kept.output, kept.record, kept.virtual_camera, kept.speaker),
    )
    if any(one not in (None, False) for one in named):
        return sending, kept
    from gemino.call.window import is_possible

    if is_possible():
        typer.echo("nothing to send or show is named: as with --camera --show", err=True)
        return replace(sending, camera=FIRST_CAMERA), replace(kept, show=True)
    typer.echo("there is no display for a window here: as with --browser", err=True)
    return replace(sending, browser=browser.DEFAULT_PORT), kept
