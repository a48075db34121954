"""Whether any rank was asked to stop: the same answer on all of them, at the same step."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from launch.stops import STOP

__all__ = ["StopAgreement"]

EVERY_S = 2.0  # ranks may be asked that seldom where steps are short and ranks are many
RANKS_PER_STEP = 8  # up to so many ranks are asked at each step: a message through all of them is quick


class StopAgreement:
    """Asks all ranks over the CPU, so that no card waits; it stands in for Lightning's broadcast at each step.

    The message takes the time of a ring through all ranks. So a large world is asked at every n-th step: as often as
    ``EVERY_S`` needs, and no more seldom than one step in ``world / RANKS_PER_STEP``.
    """

    def __init__(self) -> None:
        self.group: Any = None
        self.world_size, self.every, self.left = 1, 1, 0
        self._asked_at = time.monotonic()

    def set_up(self, trainer: L.Trainer) -> None:
        """Join the other ranks; every rank calls it at the same place."""
        self.world_size = trainer.world_size
        if self.world_size > 1 and self.group is None:
            timeout = getattr(trainer.strategy, "_timeout", None)
            self.group = dist.new_group(backend="gloo", **({"timeout": timeout} if timeout is not None else {}))

    @property
    def is_next(self) -> bool:
        """Whether the next ``ask`` is one that all ranks answer."""
        return self.left <= 1

    def ask(self, now: bool = False) -> int:
        """The exit status that all ranks shall leave with, or 0 to go on; every rank asks equally often.

        ``now`` asks whatever the interval is.
        """
        if self.world_size == 1:
            return STOP.status
        self.left -= 1
        if self.left > 0 and not now:
            return 0
        most = max(1, self.world_size // RANKS_PER_STEP)
        step_s = (time.monotonic() - self._asked_at) / self.every
        wanted = min(most, max(1, int(EVERY_S / max(step_s, 1e-6))))
        message = torch.tensor([STOP.status, -wanted])
        dist.all_reduce(message, op=dist.ReduceOp.MAX, group=self.group)
        self.every = self.left = -int(message[1])
        self._asked_at = time.monotonic()
        STOP.is_agreed = bool(message[0])
        return int(message[0])
