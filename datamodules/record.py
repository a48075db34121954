"""Which windows a run consumed: the proof that it lost none and saw none twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from anchor.batch import LipBatch, select
from anchor.files import read_records, write_whole

__all__ = ["KeyRecord"]


class KeyRecord(Callback):
    """Write the windows of every training step to ``<folder>/rank-<rank>.jsonl``, one line a step.

    A line is ``{"step": ..., "keys": ["clip frame", ...]}``; windows that only fill a batch up are left out. A run
    that goes on from a checkpoint drops what was written after it, on every rank there ever was: together the files
    hold what the weights have seen.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.step = 0
        self._keys: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """How many steps were written."""
        return {"step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.step = state_dict["step"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop what the checkpoint does not know of."""
        source = trainer.datamodule.source  # type: ignore[attr-defined]
        self._keys = [clip.key for clip in select(source.clips, "train")]
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob("rank-*.jsonl"):
                kept = [record for record in read_records(path) if record["step"] <= self.step]
                write_whole(path, "".join(map(_line, kept)))
        trainer.strategy.barrier("anchor.keys")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: LipBatch, batch_idx: int
    ) -> None:
        """One line."""
        self.step += 1
        rows = zip(batch["clip_B"].tolist(), batch["frame_B"].tolist(), batch["weight_B"].tolist(), strict=True)
        keys = [f"{self._keys[clip]} {frame}" for clip, frame, weight in rows if weight > 0]
        with (self.folder / f"rank-{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as file:
            file.write(_line({"step": self.step, "keys": keys}))


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
