"""A TorchScript is a small program: it is looked through before it is loaded, and may compute, and nothing else."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from anchor.errors import CheckpointError

__all__ = ["check_script", "is_script"]

MAX_CODE_BYTES = 64 * 2**20  # of source text, unpacked: Inception has 0.2 MB
# TorchScript's own words that reach out of it: `aten::save` writes any file, `aten::from_file` maps any.
REACHING = re.compile(
    r"\btorch\.(?:save|load|from_file|_?open\w*)\b|\bops\.(?!(?:prim|aten|quantized|torchvision)\.)\w+"
)


def is_script(path: str | Path) -> bool:
    """Whether the file at ``path`` is an archive with TorchScript's code in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def check_script(path: str | Path) -> None:
    """See that the code of the TorchScript at ``path`` only computes.

    Raises:
        CheckpointError: it is no TorchScript, or has a word that reaches a file, a process or a network.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            sources = [entry for entry in entries if "/code/" in entry.filename and entry.filename.endswith(".py")]
            if len({entry.filename for entry in entries}) < len(entries):
                raise CheckpointError(f"{path}: two parts of it have one name. It is not loaded.")
            if sum(entry.file_size for entry in sources) > MAX_CODE_BYTES:
                raise CheckpointError(f"{path}: its code has more than {MAX_CODE_BYTES // 2**20} MB. It is not loaded.")
            for entry in sources:
                if found := REACHING.search(archive.read(entry).decode("utf-8", "replace")):
                    raise CheckpointError(
                        f"{path}: its code says {found[0]}, which reaches out of the network. It is not loaded."
                    )
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path}: no TorchScript that torch can load ({str(error)[:120]}).") from None
