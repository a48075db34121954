"""Checkpoints that are whole or not there: written beside their target, then renamed over it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from anchor.errors import CheckpointError
from launch.mlu.checkpoints import to_cpu

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's plain ``torch.save``, made atomic on every file system.

    Lightning 2.6 writes into the temporary folder and moves the file: on another file system that is a copy, and a
    full disk leaves half a checkpoint where the last good one was. Here the old file stands until the new one is
    complete and synced.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            CheckpointError: the file cannot be written; what stood there before is untouched.
        """
        target = Path(path)
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(to_cpu(checkpoint), file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except (OSError, RuntimeError) as error:  # PyTorch's zip writer says RuntimeError where a write falls short
            before = "; the one written before is untouched" if target.exists() else ""
            raise CheckpointError(
                f"{target}: the checkpoint could not be written ({_reason(error, target.parent)}){before}. "
                "Free some space or mend the folder; the same command goes on."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    free = "an unknown space"
    with contextlib.suppress(OSError):
        state = os.statvfs(folder)
        free = f"{state.f_bavail * state.f_frsize / 2**20:.0f} MiB"
    return f"a write fell short, with {free} free"
