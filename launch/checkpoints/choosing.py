"""Which checkpoint a run goes on from: the newest that is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anchor.errors import CheckpointError
from anchor.models.seals import check_seal, read_seal
from launch.checkpoints.names import BEST, DAMAGED, KEPT, LAST, PARTIAL, PREVIOUS

__all__ = ["Choice", "choose_resume", "find_resume", "tidy"]


@dataclass(frozen=True)
class Choice:
    """The checkpoint to go on from, if there is one, and those that were passed over."""

    path: Path | None = None
    damaged: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_resume(config: Mapping[str, Any]) -> Path | None:
    """The checkpoint that ``resume=auto|none|PATH`` means; see :func:`choose_resume`."""
    return choose_resume(config).path


def choose_resume(config: Mapping[str, Any]) -> Choice:
    """What ``resume=auto|none|PATH`` means, every byte of it verified.

    A worker that is started again by its agent goes on from what this very start of the run has written, whatever
    ``resume`` says.

    Raises:
        CheckpointError: a path was given and nothing whole is there, or the run has checkpoints and none is whole.
    """
    folder, wanted = Path(config["run_dir"]) / "checkpoints", config["resume"]
    if wanted == "auto":
        return _choose(folder)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0):
        again = _choose(folder, since=folder.parent / "config.yaml")  # which each start writes anew
        if again.path is not None:
            return again
    if wanted in (None, "none", False):
        return Choice()
    path = Path(wanted)
    if not path.is_file():
        raise CheckpointError(f"resume={wanted}: no such checkpoint. Use resume=auto, resume=none or a path.")
    check_seal(path)
    return Choice(path)


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


def _choose(folder: Path, since: Path | None = None) -> Choice:
    """The newest whole checkpoint in ``folder``; of those alone that are newer than the file ``since``."""
    damaged: list[Path] = []
    reasons: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            if since is not None and path.stat().st_mtime_ns < since.stat().st_mtime_ns:
                continue
            check_seal(path)
        except FileNotFoundError:
            continue
        except (CheckpointError, OSError) as error:
            damaged.append(path)
            reasons.append(str(error))
            continue
        return Choice(path, damaged, [_warn(path, reasons)] if reasons or path.name != LAST else [])
    if damaged and since is None:
        best = " or resume=none to start anew"
        with contextlib.suppress(CheckpointError, OSError):
            seal = read_seal(folder / BEST)
            best = f", resume={folder / BEST} to go on from step {seal.step if seal else 'unknown'}{best}"
        raise CheckpointError(
            f"{' '.join(reasons)} No other checkpoint of this run is whole. Give another run_dir{best}."
        )
    return Choice(None, damaged)


def _warn(path: Path, reasons: list[str]) -> str:
    seal = read_seal(path)
    why = " ".join(reasons) or f"{path.with_name(LAST)} is missing."
    return f"WARNING: {why} Going on from the one before, {path}, of step {seal.step if seal else 'unknown'}."
