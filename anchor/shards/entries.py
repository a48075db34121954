"""What may stand between the members of a tar: padding and headers of plain files, and nothing else.

Headers are only looked at. No entry is ever unpacked, so a link or a path out of the folder has nowhere to lead.
"""

from __future__ import annotations

import tarfile

__all__ = ["describe_gap"]

BLOCK = 512  # bytes
LONG = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)  # what goes before the header of a long or non-ASCII name
KINDS = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.DIRTYPE: "a folder",
}  # fmt: skip
PICKLES = (".pkl", ".pickle", ".pyd", ".pth", ".pt")


def describe_gap(gap: bytes | memoryview, padding: int, expected: str, size: int) -> str | None:
    """What is wrong with the bytes before a member called ``expected`` of ``size`` bytes; None where nothing is.

    ``padding`` is how many of them complete the last block of the member before.
    """
    data, place, long_name = bytes(gap), padding, ""
    while place + BLOCK <= len(data):
        try:
            header = tarfile.TarInfo.frombuf(data[place : place + BLOCK], "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            return f"there is no tar header before it ({error})"
        place += BLOCK
        if header.type in LONG:
            long_name = _long_name(header.type, data[place : place + header.size]) or long_name
            place += -(-header.size // BLOCK) * BLOCK
            continue
        name = long_name or header.name
        if place != len(data) or header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            return f"an entry that is not of the set lies before it: {_kind(header, name)} {name!r}"
        if name != expected:
            return f"its entry is called {name!r}"
        return None if header.size == size else f"its entry claims {header.size} bytes, not {size}"
    return "there is no tar header before it"


def _long_name(kind: bytes, data: bytes) -> str:
    """The name in what goes before a header: GNU's is the name itself, POSIX's a list of ``LENGTH key=value``."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    found = [record.partition(b" path=")[2] for record in data.split(b"\n") if b" path=" in record]
    return found[-1].decode("utf-8", "surrogateescape") if found else ""


def _kind(header: tarfile.TarInfo, name: str) -> str:
    if name.endswith(PICKLES):
        return "a pickle, which is never loaded, called"
    where = f" to {header.linkname!r}" if header.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return f"{KINDS.get(header.type, 'a file')}{where} called"
