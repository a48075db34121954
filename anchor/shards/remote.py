"""A set of shards at an address: https, http, or S3. Shards come into a cache on this machine, small files are read."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from anchor.errors import ConfigError, ShardError
from anchor.shards.bucket import S3Store
from anchor.shards.cache import CacheSettings, ShardCache
from anchor.shards.faults import CONTENT, ONCE, TWICE, Fault, MissingFault
from anchor.shards.folder import MAX_SMALL_FILE
from anchor.shards.retries import Retries
from anchor.shards.stores import Store
from anchor.shards.web import HttpStore

__all__ = ["MissingFileError", "RemoteFolder", "shown_url"]

T = TypeVar("T")

USUAL_SMALL_FILE = 2**26  # bytes; how long a small file may take is reckoned with so many


class MissingFileError(ShardError, FileNotFoundError):
    """A file that is not at its address."""


def shown_url(url: str) -> str:
    """``url`` as messages may show it: without user, password, query (signatures are there) and fragment.

    A password that was not percent-encoded may hold a slash, a question mark or a hash: where the address has an @
    after the first of them, nothing of it is shown.
    """
    scheme, separator, rest = url.partition("://")
    host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    if "@" in rest and "@" not in host and ":" in host:
        return f"{scheme}{separator}..."
    return f"{scheme}{separator}{host.rpartition('@')[2]}{(slash + path).rstrip('/')}"


class RemoteFolder:
    """The files of one set behind an address; a ``Folder``.

    ``cache`` is where fetched shards lie on this machine, ``retries`` the patience with the server. Threads may share
    one object, a forked process may go on with it, and it can be pickled. ``url`` is the address without its secrets.
    """

    def __init__(self, url: str, cache: CacheSettings | None = None, retries: Retries | None = None) -> None:
        self.url = shown_url(url)
        self.retries = retries or Retries()
        self.cache = ShardCache(cache or CacheSettings())
        self._store = _open_store(url, self.retries)

    def read(self, name: str, limit: int = MAX_SMALL_FILE) -> bytes:
        """A whole small file; one of more than ``limit`` bytes is refused."""
        self._check(name)

        def deed(deadline: float) -> bytes:
            with self._store.open(name, deadline) as download:
                if (download.length or 0) > limit:
                    raise _too_long(f"{download.length} bytes", limit)
                data = bytearray()
                for block in download.blocks:
                    data += block
                    if len(data) > limit:
                        raise _too_long("more", limit)
            if download.length is not None and len(data) != download.length:
                raise Fault(f"{len(data)} of {download.length} bytes arrived", CONTENT)
            return bytes(data)

        return self._try(name, deed, min(limit, USUAL_SMALL_FILE))

    def sizes(self, names: Sequence[str]) -> dict[str, int | None]:
        """Bytes of each named file; None where it is missing."""
        for name in names:
            self._check(name)
        found: dict[str, int | None] = {}

        def deed(deadline: float) -> None:
            faults = {}
            left = [name for name in names if name not in found]
            for name, size in self._store.sizes(left, deadline).items():
                if isinstance(size, Fault):
                    faults[name] = size
                else:
                    found[name] = size
            if faults:
                name, fault = min(faults.items(), key=lambda pair: pair[1].tries)
                others = f" (and {len(faults) - 1} more files)" if len(faults) > 1 else ""
                raise Fault(f"{fault.what} for {name}{others}", fault.advice, fault.tries)

        self._try("", deed)
        return {name: found[name] for name in names}

    def names(self) -> list[str] | None:
        """Every file here; None on a web server, which cannot list."""
        return self._try("", self._store.names)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; fewer only where the file ends earlier."""
        self._check(name)
        if length <= 0:
            return b""

        def deed(deadline: float) -> bytes:
            with self._store.open(name, deadline, (start, start + length)) as download:
                return b"".join(download.blocks)

        return self._try(name, deed, length)

    def fetch(self, name: str, size: int, sha256: str) -> Path:
        """A path in the cache with the whole file, of this size and SHA-256.

        Another process may evict it when it needs room: open it at once, and fetch again if it is gone. What is open
        stays readable.
        """
        self._check(name)
        if not re.fullmatch("[0-9a-f]{64}", sha256):  # it becomes the name of a file
            raise ShardError(f"{self.url}: the manifest gives {name} the SHA-256 {sha256!r}, which is none.")
        return self.cache.get(
            sha256,
            size,
            lambda file: self._download(name, size, sha256, file),
            where=f"{self.url}/{name}",
            wait_s=self.retries.limit_s(size),
        )

    def discard(self, name: str, sha256: str) -> bool:
        """Throw the copy away if its bytes are not those of ``sha256``; False where they are, and fetching it again
        would bring the same.
        """
        return self.cache.discard(sha256)

    def __repr__(self) -> str:
        return f"RemoteFolder({self.url!r})"

    def _download(self, name: str, size: int, sha256: str, file: IO[bytes]) -> None:
        def deed(deadline: float) -> None:
            digest, received = hashlib.sha256(), 0
            file.seek(0)
            with self._store.open(name, deadline) as download:
                if download.length not in (None, size):
                    raise Fault(f"{download.length} bytes lie there, the manifest says {size}", CONTENT, TWICE)
                for block in download.blocks:
                    received += len(block)
                    if received > size:
                        raise Fault(f"more arrives than the {size} bytes of the manifest", CONTENT, TWICE)
                    digest.update(block)
                    rest = memoryview(block)
                    while rest:  # a disk that is nearly full takes a part
                        rest = rest[file.write(rest) :]
            if received != size:
                raise Fault(f"{received} of {size} bytes arrived", CONTENT)
            if digest.hexdigest() != sha256:
                raise Fault(
                    f"{size} bytes with SHA-256 {digest.hexdigest()} arrived, the manifest says {sha256}",
                    CONTENT,
                    TWICE,
                )

        self._try(name, deed, size)

    def _try(self, name: str, deed: Callable[[float], T], size: int = 0) -> T:
        where = f"{self.url}/{name}".rstrip("/")
        try:
            return self.retries.run(where, deed, size)
        except MissingFault as fault:
            raise MissingFileError(fault.sentence(where)) from None
        except Fault as fault:
            raise ShardError(fault.sentence(where)) from None

    def _check(self, name: str) -> None:
        """Names come from a manifest that somebody else may have written."""
        if not name or name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
            raise ShardError(f"{self.url}: {name!r} is no plain file name. The manifest is not one of Anchor's.")


def _too_long(what: str, limit: int) -> Fault:
    advice = "This is not a file of a set of shards: check the address."
    return Fault(f"it has {what}, and such a file has at most {limit} bytes", advice, ONCE)


def _open_store(url: str, retries: Retries) -> Store:
    scheme = url.partition(":")[0].lower()
    host = url.partition("://")[2].partition("/")[0]
    if scheme == "pipe":
        raise ConfigError(
            "pipe: would run a command of a shell, and Anchor runs none. Give https://, http:// or s3://."
        )
    if scheme not in ("http", "https", "s3"):
        raise ConfigError(
            f"{shown_url(url)}: Anchor reads shards from a folder, https://, http:// and s3://, not from {scheme}:."
        )
    if scheme == "s3":
        if not host or "@" in host or ":" in host:
            raise ConfigError(
                f"{shown_url(url)}: an S3 address is s3://bucket/folder; credentials and endpoint come from the "
                "environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...)."
            )
        return S3Store(url, retries)
    try:
        is_address = bool(urllib.parse.urlsplit(url).hostname) and (urllib.parse.urlsplit(url).port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError(f"{shown_url(url)} is no web address. Give https://HOST/FOLDER.")
    return HttpStore(_fill(url), retries)


def _fill(url: str) -> str:
    """``url`` with ``$NAME`` in its user, password or query replaced by that environment variable."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ConfigError(
                f"{shown_url(url)}: its address names ${name}, which is not set. Set it, and start again."
            )
        return os.environ[name]

    parts = urllib.parse.urlsplit(url)
    who, at, host = parts.netloc.rpartition("@")
    who, query = (re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, text) for text in (who, parts.query))
    return urllib.parse.urlunsplit(parts._replace(netloc=who + at + host, query=query))
