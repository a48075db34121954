"""Lightning's Trainer with two things done otherwise: how a save fails, and who answers signals."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L

from anchor.errors import CheckpointError, ConfigError
from launch.stops import STOP
from launch.watchdog import HEART

__all__ = ["Trainer"]

POLICIES = ("stop", "continue")


class Trainer(L.Trainer):
    """``L.Trainer`` whose ranks all know whether a checkpoint was written, and that leaves signals to us.

    Lightning saves on rank 0 and lets the others wait for it: where the save fails, they wait until somebody kills
    them. Its own handlers of SIGTERM and of SLURM's requeue signal talk to other ranks out of the handler, which hangs
    when two ranks are stopped at once.

    Args:
        on_failed_save: ``"stop"`` ends the run when a checkpoint cannot be written, ``"continue"`` says so and trains
            on; a save that nothing follows ends it in any case.
        options: of ``L.Trainer``.
    """

    def __init__(self, *, on_failed_save: str = "stop", **options: Any) -> None:
        if on_failed_save not in POLICIES:
            raise ConfigError(f"on_failed_save={on_failed_save} is unknown. Choose one of {', '.join(POLICIES)}.")
        super().__init__(**options)
        self.on_failed_save = on_failed_save
        self.has_failed_save = False  # the last one, on whatever rank
        self._signal_connector.register_signal_handlers = _do_nothing  # type: ignore[method-assign]
        self.fit_loop.epoch_loop._broadcast_sigterm_tensor = _do_nothing  # type: ignore[method-assign]

    def save_checkpoint(self, filepath: Any, weights_only: bool | None = None, storage_options: Any = None) -> None:
        """Write a checkpoint; every rank calls it, and every rank learns how it went.

        Raises:
            CheckpointError: it could not be written, and the run is to stop then.
        """
        failure = self._try_to_save(filepath, weights_only, storage_options)
        if failure is not None and self.on_failed_save == "stop":
            raise CheckpointError(failure)
        if failure is not None and self.is_global_zero:
            print(f"anchor train: {failure} TRAINING GOES ON WITHOUT IT.", file=sys.stderr, flush=True)

    def save_or_fail(self, filepath: Any) -> None:
        """Write a checkpoint after which the process ends.

        Raises:
            CheckpointError: it could not be written.
        """
        failure = self._try_to_save(filepath)
        if failure is not None:
            raise CheckpointError(failure)

    def _try_to_save(self, path: Any, weights_only: bool | None = None, storage_options: Any = None) -> str | None:
        """What went wrong, the same on all ranks; None where nothing did."""
        failure: str | None = None
        profiler: Any = self.profiler  # type: ignore[attr-defined]
        with profiler.profile("save_checkpoint"), STOP.saving(), HEART.slowly("saves"):
            checkpoint = self._checkpoint_connector.dump_checkpoint(weights_only)
            try:
                self.strategy.save_checkpoint(checkpoint, path, storage_options=storage_options)
            except CheckpointError as error:
                failure = str(error)
            failure = self.strategy.broadcast(failure)
        self.has_failed_save = failure is not None
        return failure


def _do_nothing() -> None:
    pass
