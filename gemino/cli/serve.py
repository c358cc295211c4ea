"""`gemino serve`: the browser demo."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemino.cli.console import NO_MODEL
from gemino.cli.signals import on_stop
from gemino.errors import CallError, MediaError
from gemino.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from gemino.server.app import PageServer

_HERE = "127.0.0.1"
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - only compared to


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines need --cert as well.")
    ] = _HERE,
    size: Annotated[
        Literal["256", "512", "768", "1024"], typer.Option(help="Side of the rebuilt picture.")
    ] = "512",
    model: Annotated[
        str, typer.Option(help="Network that rebuilds: a name, a folder, or none.")
    ] = DEFAULT_MODEL,
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "classical"],
        typer.Option(help="What runs the model; auto: what is in time on this machine."),
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
    from gemino.server.access import Access
    from gemino.server.app import PageServer, Place
    from gemino.server.roundtrip import RoundTrip

    tls = _tls(cert, key)
    scheme = "https" if tls else "http"
    names = frozenset({name.lower()} if name else ())
    access = Access(scheme, names, token) if token else Access(scheme, names)
    typer.echo("loading the model ...", err=True)
    trip = RoundTrip(None if model == NO_MODEL else model, int(size), runtime)
    try:
        trip.wait()
        server = PageServer(Place(host, port, tls), access, trip)

        def tell() -> None:
            shown = name or (_HERE if host in _EVERYWHERE else host)
            shown = f"[{shown}]" if ":" in shown else shown
            typer.echo(f"open {scheme}://{shown}:{server.port}/#{access.token}  (Ctrl-C ends)")
            if host != _HERE and tls is None:
                typer.echo(
                    "other machines cannot give their camera to a page without https:"
                    " add --cert and --key",
                    err=True,
                )

        asyncio.run(_serve(server, tell))
    finally:
        trip.close()


async def _serve(server: "PageServer", tell: Callable[[], None]) -> None:
    stop = asyncio.Event()
    on_stop(stop.set)
    async with server:
        tell()
        await stop.wait()


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise CallError("give both --cert and --key, or neither")
    for path in (cert, key):
        if not path.is_file():
            raise MediaError(f"{path}: there is no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise MediaError(f"{cert}, {key}: are no certificate and its key ({error})") from error
    return context
