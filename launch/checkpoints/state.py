"""What a checkpoint holds beyond Lightning's: every rank's random state, what was consumed, where it stands."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from anchor.batch import LipBatch, select
from anchor.errors import CheckpointError
from launch.checkpoints.names import STATE
from launch.checkpoints.place import Place
from launch.digest import ConsumedWindows, add_up, show
from launch.rng import get_random_state, set_random_state
from launch.start import get_start

__all__ = ["RunState", "find_state"]


class RunState(Callback):
    """Writes ``checkpoint["anchor"]`` and goes on from it.

    ``run`` names the training through all its starts and ``start`` the one that saved; ``origin`` is the checkpoint
    that it was begun from by ``resume=PATH`` (path and SHA-256; empty for none); ``random`` holds the random state of
    each rank; ``consumed_windows`` and ``consumed_keys_digest`` say which windows its weights have seen (see
    :class:`~launch.digest.ConsumedWindows`); ``place`` says where the loops stand.
    """

    def __init__(self) -> None:
        self.run = ""
        self.origin: tuple[str, str] | None = None  # set where a training begins from a checkpoint
        self.place, self.consumed = Place(), ConsumedWindows()
        self._before = 0, 0  # what earlier starts consumed
        self._random: list[dict[str, Any]] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """A training that begins gets a name; one that goes on will load its own."""
        if stage == "fit" and not self.run:
            self.run = trainer.strategy.broadcast(uuid.uuid4().hex)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what is needed when the loops start."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        held = checkpoint.get(STATE)
        mine = _name(checkpoint)
        zeros = trainer.strategy.broadcast(mine)
        if mine != zeros:
            raise CheckpointError(
                f"rank {trainer.global_rank} goes on from {mine} and rank 0 from {zeros}: is run_dir on a file system "
                "that all machines share?"
            )
        if held is None:  # of an older version, or of somebody else's trainer
            return
        self.run, self._random = held["run"], held["random"]
        self._before = held["consumed_windows"], int(held["consumed_keys_digest"], 16)
        begun = held.get("origin")  # an older version knew of none
        self.origin = self.origin or ((begun[0], begun[1]) if begun else None)
        self.place.load(held["place"])
        if trainer.strategy.restore_checkpoint_after_setup:
            self.place.open_end(trainer)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The optimizers and their schedules are made: from here on the end may be opened."""
        self.place.open_end(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Everything that draws while it sets up has drawn: the random states of the checkpoint count from here."""
        source = getattr(trainer.datamodule, "source", None)  # type: ignore[attr-defined]
        self.consumed.clips = select(source.clips, "train") if source is not None else []
        self.place.enter(trainer)
        if self._random is None:
            return
        if len(self._random) == trainer.world_size:
            set_random_state(self._random[trainer.global_rank], trainer.strategy.root_device)
        elif trainer.is_global_zero:
            print(
                f"anchor train: the checkpoint is of {len(self._random)} ranks and this run has {trainer.world_size}: "
                "windows and their order are the same; random draws of the networks themselves are not.",
                file=sys.stderr,
            )
        self._random = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: LipBatch, batch_idx: int
    ) -> None:
        """Count what was learnt from."""
        if self.consumed.clips:
            self.consumed.add(batch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The epoch that was gone on with is over."""
        self.place.leave_epoch(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The steps have their end again."""
        self.place.is_validated = False
        self.place.close_end(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What is saved now is saved after the validation."""
        self.place.is_validated, self.place.is_pending = True, False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gather from all ranks, which all are here."""
        mine = get_random_state(trainer.strategy.root_device), self.consumed.settle()
        parts: list[Any] = [mine]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            dist.gather_object(mine, parts if trainer.is_global_zero else None, dst=0)
            parts = parts if trainer.is_global_zero else [mine]
        windows, total = add_up([self._before, *[consumed for _, consumed in parts]])
        checkpoint[STATE] = {
            "run": self.run,
            "start": get_start(),
            "origin": list(self.origin or ()),
            "random": [state for state, _ in parts],
            "consumed_windows": windows,
            "consumed_keys_digest": show(total),
            "place": self.place.write(trainer, checkpoint),
        }
        self.saved = checkpoint[STATE]

    @property
    def result(self) -> dict[str, Any]:
        """What the run's result says of it, as of the last save."""
        return {key: self.saved[key] for key in ("consumed_windows", "consumed_keys_digest")}


def find_state(trainer: L.Trainer) -> RunState | None:
    """The callback of ``trainer``, if it has one."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, RunState)), None)  # type: ignore[attr-defined]


def _name(checkpoint: dict[str, Any]) -> str:
    held = checkpoint.get(STATE) or {"run": "unknown", "consumed_keys_digest": "unknown"}
    return f"step {checkpoint['global_step']} of training {held['run'][:8]} ({held['consumed_keys_digest'][:8]})"
