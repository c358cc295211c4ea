"""The page's files, read once: nothing else on the disk can be asked for."""

from dataclasses import dataclass
from pathlib import Path

from gemino.errors import CallError

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. content_type: without a charset; all text is UTF-8."""

    content_type: str
    body: bytes


def read_assets() -> dict[str, Asset]:
    """The files of web/ by name; raises CallError where the installation lacks them."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "web", package.parent / "web"):
        if (folder / INDEX).is_file():
            return {
                path.name: Asset(_TYPES[path.suffix], path.read_bytes())
                for path in sorted(folder.iterdir())
                if path.suffix in _TYPES
            }
    raise CallError("the page's files (web/) are missing: install Gemino again")
