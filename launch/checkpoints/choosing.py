"""Which checkpoint a run goes on from: the newest that is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anchor.errors import CheckpointError
from anchor.models.seals import Seal, check_seal, read_seal
from launch.checkpoints.names import BEST, DAMAGED, KEPT, LAST, PARTIAL, PREVIOUS
from launch.start import get_start

__all__ = ["Choice", "choose_resume", "find_resume", "tidy"]


@dataclass(frozen=True)
class Choice:
    """The checkpoint to go on from, if there is one, and those that were passed over."""

    path: Path | None = None
    damaged: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    origin: tuple[str, str] | None = None  # path and SHA-256, where a training begins from ``path`` for the first time


def find_resume(config: Mapping[str, Any]) -> Path | None:
    """The checkpoint that ``resume=auto|none|PATH`` means; see :func:`choose_resume`."""
    return choose_resume(config).path


def choose_resume(config: Mapping[str, Any]) -> Choice:
    """What ``resume=auto|none|PATH`` means, every byte of it verified.

    A path is where a training begins: where the run's own folder holds what came of that checkpoint, it goes on from
    there, so that a command that was stopped can be given again. A worker that is started again by its agent goes on
    from what this very start of the run has written, whatever ``resume`` says.

    Raises:
        CheckpointError: a path was given and nothing whole is there, or the run has checkpoints and none is whole.
    """
    folder, wanted = Path(config["run_dir"]) / "checkpoints", config["resume"]
    if wanted == "auto":
        return _choose(folder)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0):
        start = get_start()
        again = _choose(folder, lambda seal: start is not None and seal.start == start)
        if again.path is not None:
            return again
    if wanted in (None, "none", False):
        return Choice()
    path = Path(wanted)
    if not path.is_file():
        raise CheckpointError(f"resume={wanted}: no such checkpoint. Use resume=auto, resume=none or a path.")
    seal = check_seal(path)
    origin = str(path.resolve()), seal.sha256 if seal is not None else _hash(path)

    def stems(other: Seal) -> bool:
        # A best.ckpt of this very folder may have been replaced since, by the training that was begun from it.
        was_replaced = seal is not None and seal.origin is not None and seal.origin[0] == origin[0]
        return other.origin == origin or (was_replaced and seal is not None and other.origin == seal.origin)

    further = _choose(folder, stems)
    if further.path is None:
        return Choice(path, origin=origin)
    note = f"{further.path} came of {wanted}, and is gone on from. Another run_dir begins from {path.name} once more."
    return replace(further, warnings=[*further.warnings, note])


def tidy(config: Mapping[str, Any], choice: Choice) -> None:
    """Set aside what is damaged, and remove what killed saves have left; for rank 0, before training."""
    folder = Path(config["run_dir"]) / "checkpoints"
    for path in choice.damaged:  # a save would make it the previous one, in the place of one that is whole
        with contextlib.suppress(OSError):
            path.replace(path.with_name(DAMAGED.format(name=path.name)))
    for path in folder.glob(PARTIAL.format(name="*", host="*", process="*", id="*")):
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):  # a folder that cannot be written to will say so when it is saved into
        (folder / KEPT).unlink()


def _choose(folder: Path, is_wanted: Callable[[Seal], bool] | None = None) -> Choice:
    """The newest whole checkpoint in ``folder``; of those alone whose seal ``is_wanted``."""
    damaged: list[Path] = []
    reasons: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            seal = check_seal(path)
            if is_wanted is not None and (seal is None or not is_wanted(seal)):
                continue
        except FileNotFoundError:
            continue
        except (CheckpointError, OSError) as error:
            damaged.append(path)
            reasons.append(str(error))
            continue
        return Choice(path, damaged, [_warn(path, reasons)] if reasons or path.name != LAST else [])
    if damaged and is_wanted is None:
        best = " or resume=none to start anew"
        with contextlib.suppress(CheckpointError, OSError):
            seal = read_seal(folder / BEST)
            best = f", resume={folder / BEST} to go on from step {seal.step if seal else 'unknown'}{best}"
        raise CheckpointError(
            f"{' '.join(reasons)} No other checkpoint of this run is whole. Give another run_dir{best}."
        )
    return Choice(None, damaged)


def _hash(path: Path) -> str:
    """SHA-256 of a checkpoint from elsewhere, which has no seal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _warn(path: Path, reasons: list[str]) -> str:
    seal = read_seal(path)
    why = " ".join(reasons) or f"{path.with_name(LAST)} is missing."
    return f"WARNING: {why} Going on from the one before, {path}, of step {seal.step if seal else 'unknown'}."
