"""The best checkpoint, and the best few beside it; a save that failed counts for neither."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from anchor.models.seals import read_seal

__all__ = ["BestCheckpoint", "TopCheckpoints"]

BOOKS = (
    "best_k_models", "best_model_path", "best_model_score", "kth_best_model_path", "kth_value", "current_score",
    "_last_global_step_saved", "_last_checkpoint_saved",
)  # fmt: skip


class _HonestCheckpoint(ModelCheckpoint):
    """Lightning's, which books a score before it saves, and keeps it where the save fails and the run goes on.

    What is better than the file on disk would not be saved then, unless it were better than what was lost, too.
    """

    def _update_best_and_save(
        self, current: torch.Tensor, trainer: L.Trainer, monitor_candidates: dict[str, torch.Tensor]
    ) -> None:
        before: dict[str, Any] = {name: copy.copy(getattr(self, name)) for name in BOOKS}
        super()._update_best_and_save(current, trainer, monitor_candidates)
        if getattr(trainer, "has_failed_save", False):  # as our own trainer says, the same on all ranks
            vars(self).update(before)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the book also of a folder that was moved or copied; Lightning begins a new one there.

        A checkpoint of another run's folder brings no book along: what it calls the best is not here.
        """
        old, new = str(state_dict.get("dirpath") or ""), str(self.dirpath or "")
        if old and new and old != new:
            here = {path: _moved(path, old, new) for path in state_dict["best_k_models"]}
            if here and all(_is_copy(path, found) for path, found in here.items()):
                state_dict = {**state_dict, "dirpath": new}
                state_dict["best_k_models"] = {here[path]: held for path, held in state_dict["best_k_models"].items()}
                for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
                    state_dict[key] = _moved(state_dict[key], old, new)
        super().load_state_dict(state_dict)


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path.startswith(old) else path


def _is_copy(path: str, found: str) -> bool:
    """Whether ``found`` is what stood at ``path``: moved from there, or the same checkpoint by its seal."""
    if not Path(found).is_file():
        return False
    return not Path(path).is_file() or read_seal(path) == read_seal(found)


class BestCheckpoint(_HonestCheckpoint):
    """Keep the best; in a checkpoint its entry has the name that Lightning's class gives it."""

    @property
    def state_key(self) -> str:
        """``ModelCheckpoint{...}``."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)


class TopCheckpoints(_HonestCheckpoint):
    """Keep the ``save_top_k`` best as ``<dirpath>/step-N.ckpt``; -1 keeps all.

    ``N`` is the trainer's ``global_step``, which counts both networks of the GAN stage. A class of its own, because two
    ``ModelCheckpoint`` of the same monitor would share one entry in a checkpoint, and Lightning refuses that.
    """

    def __init__(self, *, dirpath: str, monitor: str, mode: str = "min", save_top_k: int = 5) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="step-{step}",
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
