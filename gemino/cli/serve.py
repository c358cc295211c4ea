"""`gemino serve`: the browser demo."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemino.cli.console import NO_MODEL
from gemino.cli.https import LOCALHOST, link_to, new_access, read_certificate, warn_of_http
from gemino.cli.signals import on_stop
from gemino.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from gemino.server.app import PageServer


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines need --cert as well.")
    ] = LOCALHOST,
    size: Annotated[
        Literal["256", "512", "768", "1024"], typer.Option(help="Side of the rebuilt picture.")
    ] = "512",
    model: Annotated[
        str, typer.Option(help="Network that rebuilds: a name, a folder, or none.")
    ] = DEFAULT_MODEL,
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "classical"],
        typer.Option(help="What runs the model; auto: what is fast enough on this machine."),
    ] = "auto",
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="TLS certificate: serve https.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="The certificate's private key.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name under which other machines open the page.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Secret in the link, 16 characters or more; default: a new one."),
    ] = None,
) -> None:
    """Serve a page that shows your own face after a full Gemino round trip, at a rate you choose.

    Prints the link to open in a browser on this machine. The page is for one person at a time, and
    nothing that it sends is kept.

    Example: gemino serve --size 1024
    """
    from gemino.server.app import PageServer, Place
    from gemino.server.roundtrip import RoundTrip

    place = Place(host, port, read_certificate(cert, key))
    access = new_access(place, name, token)
    typer.echo("loading the model ...", err=True)
    trip = RoundTrip(None if model == NO_MODEL else model, int(size), runtime)
    try:
        trip.wait()
        server = PageServer(place, access, trip)

        def tell() -> None:
            typer.echo(f"open {link_to(place, access, server.port, name)}  (Ctrl-C ends)")
            warn_of_http(place, "--cert and --key")

        asyncio.run(_serve(server, tell))
    finally:
        trip.close()


async def _serve(server: "PageServer", tell: Callable[[], None]) -> None:
    stop = asyncio.Event()
    on_stop(stop.set)
    async with server:
        tell()
        await stop.wait()
