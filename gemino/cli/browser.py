"""`gemino-call --browser`: a page of a browser as camera, microphone, loudspeaker and screen."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gemino.cli.https import LOCALHOST, link_to, new_access, read_certificate, warn_of_http
from gemino.errors import CallError

if TYPE_CHECKING:
    from gemino.call.display import Display
    from gemino.call.peer import Peer
    from gemino.call.sources import Source
    from gemino.call.speaker import Speaker
    from gemino.server.app import Place

DEFAULT_PORT = "8080"
Browser = Annotated[
    str | None,
    typer.Option(
        "--browser",
        metavar="[PORT]",
        help="Use a page in a browser here as camera, microphone and screen: prints its link.",
    ),
]
_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Served:
    """From where the page of `--browser` can be opened."""

    heading: ClassVar[str] = "A page for other machines"

    page_host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where --browser's page listens.")
    ] = None
    page_cert: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="TLS certificate: serve it by https.")
    ] = None
    page_key: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="The certificate's private key.")
    ] = None
    page_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Host name under which other machines open the page."),
    ] = None

    page_token: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="In the page's link, 16 characters or more: the link stays the same.",
        ),
    ] = None

    def place(self, port: int | None) -> "Place | None":
        """Where to listen; None without a page. Raises CallError, MediaError."""
        given = (
            *(self.page_host, self.page_cert, self.page_key),
            *(self.page_name, self.page_token),
        )
        if port is None:
            if any(one is not None for one in given):
                raise CallError("--page-... says from where a page can be opened: add --browser")
            return None
        from gemino.server.app import Place

        tls = read_certificate(self.page_cert, self.page_key, "--page-cert", "--page-key")
        return Place(self.page_host or LOCALHOST, port, tls)


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
def opened(
    served: Served, place: "Place | None", size_px: int, model: str, kbps: float
) -> Iterator[Lent]:
    """Serve the page, and wait until somebody has begun there; nothing without a place.

    kbps: what the call may send, at first.
    """
    if place is None:
        yield Lent()
        return
    from gemino.call.microphone import WithMicrophone
    from gemino.call.speaker import Speaker
    from gemino.server.devices import PageDevices
    from gemino.server.running import serving

    devices = PageDevices(size_px, model, kbps)
    access = new_access(place, served.page_name, served.page_token)
    with serving(place, access, devices) as port:
        link = link_to(place, access, port, served.page_name)
        typer.echo(f"open {link} and press Start  (Ctrl-C ends)", err=True)
        warn_of_http(place, "--page-cert and --page-key")
        while not devices.wait_for_page(_PATIENCE_S):
            pass  # in pieces, so that Ctrl-C is heard
        speaker = Speaker(card=devices)
        try:
            yield Lent(WithMicrophone(devices.source(), card=devices), (devices,), speaker)
        finally:
            devices.close()
            speaker.close()


def tell(peer: "Peer", loop: asyncio.AbstractEventLoop) -> None:
    """Let the page show how the call goes, and steer it."""
    from gemino.server.devices import PageDevices

    for display in peer.options.displays:
        if isinstance(display, PageDevices):
            display.join(peer, loop)
