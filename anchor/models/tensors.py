"""Files of ``torch.save``: written whole, and read as what they may hold: tensors and plain types.

Reading takes no more memory than the file has bytes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from anchor.errors import CheckpointError, ConfigError

__all__ = ["load_tensors", "save_tensors"]

MAX_ENTRIES = 100_000  # of the archive: one for each tensor; a 384 px generator with its optimizer has under 5000


def load_tensors(path: str | Path, what: str = "file of tensors") -> Any:
    """What ``torch.save`` wrote to ``path``, on the CPU; ``weights_only=True``, so nothing in it runs.

    ``what`` it should be names it in errors.

    Raises:
        CheckpointError: it is damaged, holds objects that could run code, or parts that unpack to more than they are.
    """
    path = Path(path)
    try:
        _check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a forged pickle can raise anything; none of it is ours
        words = str(error).strip().splitlines() or [type(error).__name__]
        is_foreign = isinstance(error, (pickle.UnpicklingError, KeyError))  # KeyError: bytes that are no pickle at all
        reason = "it holds no plain tensors" if is_foreign else words[0][:160]
        raise CheckpointError(
            f"{path}: not a readable {what} ({reason}). It is damaged or holds objects that could run code."
        ) from None


def save_tensors(content: Any, out: Path) -> None:
    """Write ``content`` as ``torch.save`` does, whole or not at all; the folders above ``out`` are made.

    Raises:
        ConfigError: it cannot be written.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, partial)
        partial.replace(out)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"out={out} cannot be written ({error}). Nothing is left of it.") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _check_archive(path: Path) -> None:
    """See that the parts of a zip archive are stored as they are: a few bytes may unpack to all the memory there is."""
    if not zipfile.is_zipfile(path):
        return  # the format before PyTorch 1.6, or nothing that torch knows
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise CheckpointError(f"{path}: {len(entries)} parts, and at most {MAX_ENTRIES} are read.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{path}: its parts are compressed, which torch.save never does. It is not read.")
    claimed, held = sum(entry.file_size for entry in entries), path.stat().st_size
    if claimed > held:
        raise CheckpointError(f"{path}: its parts claim {claimed} bytes, and the file has {held}. It is not read.")
