"""What is kept between calls, encrypted: references of people's faces, and whatever else is asked.

A folder of small files, one an item. Each is AES-256-GCM: a nonce of 12 bytes, then the encrypted
SHA-256 of the content and the content; the item's kind is authenticated beside it. The name is an
HMAC of kind and hash. So the files tell nobody what they hold, nor whether they hold a picture that
somebody has. The key lies elsewhere, in a file that only its owner may read.

Bounded: the items used last stay. A file that is damaged, or of another key, counts as none.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gemino.errors import MediaError

KEY_BYTES = 32
MAX_ITEM_BYTES = 1 << 20
_NONCE_BYTES, _TAG_BYTES, _HASH_BYTES = 12, 16, 32
_OVERHEAD = _NONCE_BYTES + _TAG_BYTES + _HASH_BYTES
_SUFFIX = ".item"
_MAX_KIND = 32


def default_folder() -> Path:
    """Where a user's gallery lies."""
    return Path.home() / ".local" / "share" / "gemino" / "gallery"


def default_key() -> Path:
    """Where its key lies."""
    return Path.home() / ".config" / "gemino" / "gallery.key"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing kept. size_bytes: of the content. used_at: seconds since 1970."""

    kind: str
    sha256: bytes
    size_bytes: int
    used_at: float


class Gallery:
    """Things by kind (a short word) and the SHA-256 of their content.

    folder, key_file: made where they are missing. max_items: of all kinds together. kinds: those
    that this user of the gallery knows. Raises MediaError where the folder or the key cannot be
    used.
    """

    def __init__(
        self,
        folder: Path,
        key_file: Path,
        *,
        kinds: tuple[str, ...] = ("sent", "received", "adapter", "part"),
        max_items: int = 128,
    ) -> None:
        self.folder = folder
        self._kinds = kinds
        self._max_items = max_items
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._key = _read_key(key_file)
        except OSError as error:
            where = error.filename or folder
            raise MediaError(f"{where}: no gallery can be kept there ({error.strerror})") from error
        self._cipher = AESGCM(self._key)

    def put(self, kind: str, data: bytes) -> bytes:
        """Keep `data`; returns its SHA-256. Raises MediaError where it cannot be written."""
        if not 0 < len(data) <= MAX_ITEM_BYTES or not 0 < len(kind) <= _MAX_KIND:
            raise ValueError(f"no item of {kind!r} and {len(data)} bytes can be kept")
        sha256 = hashlib.sha256(data).digest()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, sha256 + data, kind.encode())
        path = self._path(kind, sha256)
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            draft.touch(mode=0o600)
            draft.write_bytes(sealed)
            draft.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise MediaError(f"{path.parent}: cannot be written ({error.strerror})") from error
        self._trim()
        return sha256

    def get(self, kind: str, sha256: bytes) -> bytes | None:
        """The content with that hash, None where it is not here; counts as a use of it."""
        path = self._path(kind, sha256)
        found = self._open(path, kind)
        if found is None or found[0] != sha256:
            return None
        try:
            os.utime(path)
        except OSError:
            return found[1]  # somebody has just forgotten it
        return found[1]

    def items(self) -> list[Item]:
        """All that can be read, the last used first."""
        found = []
        for path, used_at in self._files():
            for kind in self._kinds:
                opened = self._open(path, kind)
                if opened is not None:
                    found.append(Item(kind, opened[0], len(opened[1]), used_at))
        return found

    def forget(self, item: Item | None = None) -> int:
        """Delete one item, or everything, readable or not; returns how many files that were."""
        paths = [path for path, _ in self._files()]
        if item is not None:
            paths = [path for path in paths if path == self._path(item.kind, item.sha256)]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def _path(self, kind: str, sha256: bytes) -> Path:
        name = hmac.new(self._key, kind.encode() + b"\0" + sha256, "sha256").hexdigest()
        return self.folder / f"{name[:40]}{_SUFFIX}"

    def _open(self, path: Path, kind: str) -> tuple[bytes, bytes] | None:
        """Hash and content of a file; None for a damaged one, another key's or another kind's."""
        try:
            if path.stat().st_size > MAX_ITEM_BYTES + _OVERHEAD:
                return None
            sealed = path.read_bytes()
        except OSError:
            return None
        if len(sealed) <= _OVERHEAD:
            return None
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            plain = self._cipher.decrypt(nonce, rest, kind.encode())
        except InvalidTag:
            return None
        sha256, data = plain[:_HASH_BYTES], plain[_HASH_BYTES:]
        return (sha256, data) if hashlib.sha256(data).digest() == sha256 else None

    def _files(self) -> list[tuple[Path, float]]:
        """Each file and when it was last used, the last used first."""
        return sorted(self._stated(), key=lambda each: each[1], reverse=True)

    def _stated(self) -> Iterator[tuple[Path, float]]:
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                yield path, path.stat().st_mtime
            except OSError:
                continue  # somebody has just forgotten it

    def _trim(self) -> None:
        for path, _ in self._files()[self._max_items :]:
            path.unlink(missing_ok=True)


def _read_key(path: Path) -> bytes:
    """The key in `path`; a new one, for its owner's eyes only, where there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_bytes(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # of two that begin at once, one makes the key
        draft.unlink()
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise MediaError(f"{path}: others may read this key; chmod 600 it, or delete it")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise MediaError(f"{path}: is no key of {KEY_BYTES} bytes; delete it to begin anew")
    return key
