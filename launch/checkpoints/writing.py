"""Checkpoints that are whole or not there: written beside their target, synced, sealed, and renamed over it."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from anchor.errors import CheckpointError
from anchor.models.seals import Seal, SealingFile, check_seal, read_seal
from launch.checkpoints.names import KEPT, LAST, PARTIAL, PREVIOUS, STATE
from launch.checkpoints.tensors import count_bytes
from launch.mlu.checkpoints import to_cpu

__all__ = ["AtomicCheckpointIO"]

MARGIN_BYTES = 2**20  # of space, beside the tensors


class AtomicCheckpointIO(TorchCheckpointIO):
    """``torch.save`` and ``torch.load`` for checkpoints that must hold.

    Lightning 2.6 writes into the temporary folder and moves the file: on another file system that is a copy, and a
    full disk leaves half a checkpoint where the last good one was. Here the old file stands until the new one is
    complete, synced and sealed with its SHA-256; ``last.ckpt`` of the same training becomes ``last-previous.ckpt``. A
    file is loaded only if it is what was written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = False  # the last save

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``, its tensors as tensors of the CPU.

        Raises:
            CheckpointError: the file cannot be written; what stood there before is untouched.
        """
        target = Path(path)
        name = PARTIAL.format(name=target.name, host=socket.gethostname(), process=os.getpid(), id=uuid.uuid4().hex[:8])
        partial = target.with_name(name)
        self.has_failed = True
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _check_space(target, count_bytes(checkpoint))
            seal = _write(to_cpu(checkpoint), partial)
            _place(partial, target, seal)
        except OSError as error:
            before = (
                "; the one written before is untouched" if os.path.exists(target) else ""
            )  # Path.exists raises where it may not look
            raise CheckpointError(
                f"{target}: the checkpoint could not be written ({error.strerror or error}){before}. "
                "Free some space or mend the folder; the same command with resume=auto goes on."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        self.has_failed = False

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """The checkpoint at ``path``, on the CPU unless ``map_location`` says otherwise; tensors and plain types alone.

        Whoever asks for more (``weights_only=False``) does not get it.

        Raises:
            CheckpointError: it is not what was written.
        """
        check_seal(path)
        return super().load_checkpoint(path, map_location or _stay, weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove what a better checkpoint replaces; nothing while the last save failed, for there is none."""
        if not self.has_failed:
            super().remove_checkpoint(path)


def _stay(storage: Any, location: str) -> Any:
    """Leave a storage on the CPU, to which it was read."""
    return storage


def _check_space(target: Path, num_bytes: int) -> None:
    """See that the disk has room for a checkpoint of ``num_bytes`` beside those that stand there.

    Raises:
        CheckpointError: it has not.
    """
    state = os.statvfs(target.parent)
    free = state.f_bavail * state.f_frsize
    if free < num_bytes + MARGIN_BYTES:
        raise CheckpointError(
            f"{target}: the checkpoint could not be written: it needs {(num_bytes + MARGIN_BYTES) / 2**20:.0f} MiB and "
            f"{free / 2**20:.0f} MiB are free. Checkpoints written before are untouched; free some space, and the same "
            "command with resume=auto goes on."
        )


def _write(checkpoint: dict[str, Any], partial: Path) -> Seal:
    """Stream ``checkpoint`` to disk and sync it there."""
    about = checkpoint.get(STATE) or {}
    with partial.open("wb") as file:
        sealing = SealingFile(file)
        try:
            torch.save(checkpoint, sealing)  # type: ignore[arg-type]
        except RuntimeError as error:  # which PyTorch's zip writer makes of a write that fails
            raise sealing.error or error from error
        origin = tuple(about.get("origin") or ()) or None
        seal = sealing.seal(checkpoint.get("global_step"), about.get("run"), about.get("start"), origin)
        file.flush()
        os.fsync(file.fileno())
    return seal


def _place(partial: Path, target: Path, seal: Seal) -> None:
    """Rename ``partial`` over ``target``; a ``last.ckpt`` of the same training is kept as the previous one.

    At every instant the newest whole checkpoint stands under a name that a resume looks at: the older one is linked
    first and takes its new name last.
    """
    previous, kept = target.with_name(PREVIOUS), target.with_name(KEPT)
    kept.unlink(missing_ok=True)
    if target.name == LAST and _is_of(target, seal):
        try:
            os.link(target, kept)
        except OSError:  # a file system without links: for a moment there is no last.ckpt, and the previous one counts
            target.replace(previous)
    partial.replace(target)
    sync_folder(target.parent)
    if kept.exists():
        kept.replace(previous)
    elif target.name == LAST and previous.exists() and not _is_of(previous, seal):
        previous.unlink()  # of a training that this one replaces
    sync_folder(target.parent)


def _is_of(path: Path, seal: Seal) -> bool:
    """Whether the checkpoint at ``path`` is there, and of the training of ``seal``."""
    try:
        held = read_seal(path)
    except (CheckpointError, FileNotFoundError):
        return False
    return held is not None and held.run == seal.run


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
