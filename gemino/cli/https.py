"""How a page is served to browsers: its link, its certificate, who may ask for it."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gemino.errors import CallError, MediaError

if TYPE_CHECKING:
    from gemino.server.access import Access
    from gemino.server.app import Place

LOCALHOST = "127.0.0.1"
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - only compared to
_HERE = {LOCALHOST, "::1", "localhost"}


def new_access(place: "Place", name: str | None, token: str | None = None) -> "Access":
    """What requests to a page at `place` must show; raises CallError for a short token."""
    from gemino.server.access import Access

    scheme = "https" if place.tls else "http"
    names = frozenset({name.lower()} if name else ())
    return Access(scheme, names, token) if token else Access(scheme, names)


def link_to(place: "Place", access: "Access", port: int, name: str | None) -> str:
    """The link to open; it holds the secret."""
    shown = name or (LOCALHOST if place.host in _EVERYWHERE else place.host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"{access.scheme}://{shown}:{port}/#{access.token}"


def warn_of_http(place: "Place", options: str) -> None:
    """Say so where other machines may open the page, and cannot give it their camera."""
    if place.host not in _HERE and place.tls is None:
        words = "other machines cannot give their camera to a page without https: add"
        typer.echo(f"{words} {options}", err=True)


def read_certificate(
    cert: Path | None, key: Path | None, cert_option: str = "--cert", key_option: str = "--key"
) -> ssl.SSLContext | None:
    """What serves https; None without a certificate. Raises CallError, MediaError."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise CallError(f"give both {cert_option} and {key_option}, or neither")
    for path in (cert, key):
        if not path.is_file():
            raise MediaError(f"{path}: there is no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise MediaError(f"{cert}, {key}: are no certificate and its key ({error})") from error
    return context
