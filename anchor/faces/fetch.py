"""`anchor models fetch`: one face model onto this machine, on the user's word and checked before it is used."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import http.client
import os
import stat
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from anchor.errors import ConfigError, FaceError
from anchor.faces.folders import model_dirs
from anchor.faces.packs import PACKS, ModelFile, ModelPack, faults, is_intact, place_of

__all__ = ["fetch"]

TIMEOUT_S = 30.0  # without a byte
BLOCK = 1 << 18  # bytes


def fetch(*, name: str, accept_licence: bool = False, out: Path | None = None, url: str | None = None) -> None:
    """Download one face model: yunet, face_landmarker, buffalo_l or buffalo_sc.

    It goes to out=DIR, else $ANCHOR_MODELS, else ~/.cache/anchor/models. Its SHA-256 is checked first, also that of a
    mirror or a file that url= names. Weights that are not free for every use need accept_licence=true.

    Raises:
        ConfigError: no such model, a licence that was not accepted, or a url of another kind.
        FaceError: the download failed or is not the file it should be.
    """
    pack = _find(name)
    folder = (out or model_dirs()[0]).expanduser()
    broken = faults(pack, folder)
    if not broken:
        print(f"{name}: {_target(pack, folder)} is there and whole.")
        return
    print(f"{name} ({pack.download.size / 1e6:.1f} MB) for {pack.gives}\nlicence: {pack.licence}. {pack.terms}")
    if pack.is_restricted and not accept_licence:
        raise ConfigError(f"{name} is for {pack.licence} only. Add accept_licence=true if that is your use.")
    for path in broken:
        if path.exists():
            print(f"{path} is damaged and is replaced.")
    address = _address(url or pack.url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as private:
            download = Path(private) / pack.download.name
            _download(pack, address, download, folder)
            sources = _unpack(pack, download) if pack.archive else {pack.files[0].name: download}
            for file in pack.files:
                place = place_of(pack, folder, file)
                place.parent.mkdir(exist_ok=True)
                os.replace(sources[file.name], place)
    except OSError as error:
        raise FaceError(
            f"{name} cannot be written to {folder} ({error.strerror or error}). "
            "Make room there, or name a folder of your own with out=DIR or ANCHOR_MODELS=DIR."
        ) from error
    print(f"{name}: {_target(pack, folder)}")


def _find(name: str) -> ModelPack:
    if name not in PACKS:
        near = difflib.get_close_matches(name, PACKS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"name={name} is no model Anchor knows.{hint} Choose one of {', '.join(PACKS)}.")
    return PACKS[name]


def _target(pack: ModelPack, folder: Path) -> Path:
    return folder / pack.name if pack.archive else place_of(pack, folder, pack.files[0])


def _address(url: str) -> str:
    """``url``, or the file:// address of a path on this machine."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme in ("https", "http", "file"):
        return url
    if not scheme and Path(url).expanduser().is_file():
        return Path(url).expanduser().resolve().as_uri()
    raise ConfigError(f"url={url} is neither https://, http:// or file://, nor a file on this machine.")


def _download(pack: ModelPack, address: str, path: Path, folder: Path) -> None:
    """The bytes at ``address`` into ``path``; no more of them than there should be, and only the right ones."""
    wanted, digest, size = pack.download, hashlib.sha256(), 0
    with path.open("xb") as stream:
        try:
            for block in _read(address):
                size += len(block)
                if size > wanted.size:
                    break
                digest.update(block)
                stream.write(block)
                _show_progress(pack.name, size, wanted.size)
        except _UnreachableError as error:
            raise FaceError(
                f"{pack.name} cannot be fetched from {address} ({error}). {_by_hand(pack, folder)}"
            ) from error
        finally:
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if size > wanted.size:
        raise FaceError(
            f"{address} is longer than the {wanted.size} bytes of {wanted.name}. Nothing was kept. "
            f"{_by_hand(pack, folder)}"
        )
    if digest.hexdigest() != wanted.sha256:
        raise FaceError(
            f"{address} gave {size} bytes with sha256 {digest.hexdigest()}, and {wanted.name} has {wanted.size} bytes "
            f"with sha256 {wanted.sha256}. Nothing was kept. {_by_hand(pack, folder)}"
        )


class _UnreachableError(Exception):
    """Reading failed, whatever urllib calls it; writing fails with OSError."""


def _read(address: str) -> Iterator[bytes]:
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "anchor"})  # noqa: S310, see _address
        with contextlib.closing(urllib.request.urlopen(request, timeout=TIMEOUT_S)) as response:  # noqa: S310
            while block := response.read(BLOCK):
                yield block
    except (OSError, http.client.HTTPException) as error:
        raise _UnreachableError(getattr(error, "reason", None) or error) from error


def _unpack(pack: ModelPack, archive: Path) -> dict[str, Path]:
    """The files of ``pack`` out of its archive, by name; whatever else is in there stays there."""
    sources = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for file in pack.files:
                path = archive.parent / file.name
                with opened.open(_member(opened, pack, file)) as member, path.open("xb") as stream:
                    left = file.size + 1  # one byte more tells that it is too long
                    while block := member.read(min(BLOCK, left)):
                        stream.write(block)
                        left -= len(block)
                if not is_intact(path, file):
                    raise FaceError(f"{pack.download.name} holds another {file.name} than it should. Nothing was kept.")
                sources[file.name] = path
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise FaceError(f"{pack.download.name} is no archive that can be unpacked ({error}).") from error
    return sources


def _member(opened: zipfile.ZipFile, pack: ModelPack, file: ModelFile) -> zipfile.ZipInfo:
    """The plain file called ``file.name`` at the top of the archive or in its folder ``pack.name``."""
    for info in opened.infolist():
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if PurePosixPath(info.filename).parts in ((file.name,), (pack.name, file.name)) and not is_link:
            return info
    raise FaceError(f"{pack.download.name} holds no {file.name}. Nothing was kept.")


def _show_progress(name: str, size: int, total: int) -> None:
    if sys.stderr.isatty():
        text = f"  {name}: {size / 1e6:.1f} of {total / 1e6:.1f} MB"
        print("\r\x1b[K" + text, end="", file=sys.stderr, flush=True)


def _by_hand(pack: ModelPack, folder: Path) -> str:
    accept = " accept_licence=true" if pack.is_restricted else ""
    return (
        f"By hand: bring {pack.url} (sha256 {pack.download.sha256}) here, and run "
        f"`anchor models fetch name={pack.name}{accept} url=FILE out={folder}`."
    )
