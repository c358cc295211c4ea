"""`gemino-call --browser`: a page of a browser as camera, microphone, loudspeaker and screen."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gemino.errors import CallError

if TYPE_CHECKING:
    from gemino.call.display import Display
    from gemino.call.peer import Peer
    from gemino.call.sources import Source
    from gemino.call.speaker import Speaker

DEFAULT_PORT = "8080"
Browser = Annotated[
    str | None,
    typer.Option(
        "--browser",
        metavar="[PORT]",
        help="Be seen and see in a browser on this machine: prints the link of its page.",
    ),
]
_PATIENCE_S = 0.5


def check(browser: str | None, *, others: bool, loopback: bool) -> int | None:
    """The port of `--browser`; raises CallError where it cannot be. others: another source."""
    if browser is None:
        return None
    if loopback or others:
        raise CallError("--browser brings camera, microphone and loudspeaker: name no others")
    if not (browser.isascii() and browser.isdigit() and int(browser) < 1 << 16):
        raise CallError(f"--browser {browser}: is no port; leave it out for {DEFAULT_PORT}")
    return int(browser)


@dataclass(frozen=True, slots=True)
class Lent:
    """What the page lends to the call: where pictures and sound come from, and go to."""

    source: "Source | None" = None
    displays: "tuple[Display, ...]" = ()
    speaker: "Speaker | None" = None


@contextlib.contextmanager
def opened(port: int | None, size_px: int, model: str) -> Iterator[Lent]:
    """Serve the page, and wait until somebody has begun there; nothing without a port."""
    if port is None:
        yield Lent()
        return
    from gemino.call.microphone import WithMicrophone
    from gemino.call.speaker import Speaker
    from gemino.server.access import Access
    from gemino.server.app import Place
    from gemino.server.devices import PageDevices
    from gemino.server.running import serving

    devices, access = PageDevices(size_px, model), Access()
    with serving(Place(port=port), access, devices) as where:
        link = f"http://127.0.0.1:{where}/#{access.token}"
        typer.echo(f"open {link} and press Start  (Ctrl-C ends)", err=True)
        while not devices.wait_for_page(_PATIENCE_S):
            pass  # in pieces, so that Ctrl-C is heard
        speaker = Speaker(card=devices)
        try:
            yield Lent(WithMicrophone(devices.source(), card=devices), (devices,), speaker)
        finally:
            devices.close()
            speaker.close()


def tell(peer: "Peer") -> None:
    """Let the page show how the call goes."""
    from gemino.server.devices import PageDevices

    for display in peer.options.displays:
        if isinstance(display, PageDevices):
            display.incoming = lambda: None if peer.incoming is None else peer.incoming.counters
