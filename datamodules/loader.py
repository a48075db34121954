"""From an order of windows to batches, with processes that load, a place that checkpoints keep, and damage counted."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from anchor.batch import LipBatch
from anchor.errors import CheckpointError
from datamodules.order import PLAN_VERSION, TrainOrder, ValidationOrder
from datamodules.quarantine import Quarantine
from datamodules.windows import Item, WindowDataset

__all__ = ["WindowLoader", "start_loader_process"]

PRELOAD = ["datamodules.loader", "anchor.shards.reader"]  # imported once, and shared by all loader processes


class WindowLoader(DataLoader[LipBatch]):
    """A loader of whole batches whose place goes into the checkpoint: a few numbers, the same on every rank.

    A pass goes to the end of the epoch, and begins where the last one stopped or a checkpoint says.

    Args:
        prefetch: batches that each of ``num_workers`` processes makes in advance.
        quarantine: keeps the count of what is damaged.
        identity: of the data; another one is refused where a checkpoint is gone on from, but with
            ``accept_other_data``.
    """

    sampler: TrainOrder | ValidationOrder

    def __init__(
        self,
        dataset: WindowDataset,
        order: TrainOrder | ValidationOrder,
        *,
        num_workers: int,
        prefetch: int,
        quarantine: Quarantine,
        identity: str = "",
        accept_other_data: bool = False,
    ) -> None:
        super().__init__(
            dataset,  # type: ignore[arg-type]
            batch_size=None,  # the sampler yields whole batches
            sampler=order,  # type: ignore[arg-type]
            num_workers=num_workers,
            prefetch_factor=prefetch if num_workers else None,
            persistent_workers=num_workers > 0,
            multiprocessing_context=_context() if num_workers else None,
            worker_init_fn=start_loader_process,
            generator=torch.Generator(),  # its own: a pass draws nothing from the state that a resume puts back
        )
        self.quarantine, self.identity, self.accept_other_data = quarantine, identity, accept_other_data
        self.waited_s = 0.0  # that somebody asked for a batch and there was none, since the loader was made
        self.is_last_unused: Callable[[], bool] = lambda: False  # whether the batch handed out last was not learnt from

    def __iter__(self) -> Iterator[LipBatch]:  # type: ignore[override]
        for item in self._timed(super().__iter__()):
            batch, damages, error = cast(Item, item)
            if isinstance(self.sampler, TrainOrder):
                self.quarantine.add(damages, self.sampler.num_windows)
            elif damages:
                raise self.quarantine.refuse(damages[0])
            if error is not None:
                raise error
            assert batch is not None
            if isinstance(self.sampler, TrainOrder):
                self.sampler.advance()  # before it is handed out: a checkpoint made after its step counts it
            yield batch

    def _timed(self, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            asked_at = time.monotonic()
            item = next(items, None)
            self.waited_s += time.monotonic() - asked_at
            if item is None:
                return
            yield item

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: nothing of it depends on ranks, workers or prefetch."""
        if not isinstance(self.sampler, TrainOrder):
            return {}
        order = self.sampler
        epoch, given = order.before if self.is_last_unused() else (order.epoch, order.given)
        return {
            "plan": PLAN_VERSION, "seed": order.seed, "epoch": epoch, "given": given,
            "windows": order.num_windows, "group": order.groups.size, "neighbours": order.groups.neighbours,
            "data": self.identity,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the windows that were handed out before, with any batch size.

        Raises:
            CheckpointError: the order would not be the same one.
        """
        if not isinstance(self.sampler, TrainOrder):
            return
        order = self.sampler
        state = {"neighbours": False, **state}  # a checkpoint of before there was a choice
        mine = self.state_dict()
        names = {
            "plan": "another order of windows", "seed": "seed={}", "group": "datamodule.windows_per_clip={}",
            "neighbours": "datamodule.neighbours={}",
            "data": "other shards, or another datamodule.repeat or datamodule.material_s",
            "windows": "{} windows an epoch",
        }  # fmt: skip
        for key, name in names.items():
            if state.get(key) == mine[key] or (key in ("data", "windows") and self.accept_other_data):
                continue
            raise CheckpointError(
                f"The checkpoint was made with {name.format(state.get(key))}"
                f"{f', and this run has {mine[key]}' if '{}' in name else ''}: the epoch it is in cannot be gone on "
                "with exactly. Give what it was made with, resume=none to start anew, or "
                "datamodule.accept_other_data=true to begin the next epoch with these shards."
            )
        same = all(state.get(key) == mine[key] for key in names)
        order.epoch, order.given = (state["epoch"], state["given"]) if same else (state["epoch"] + 1, 0)


def start_loader_process(number: int) -> None:
    """What a loader process does first: one thread each, and an end when its trainer ends and not before.

    A trainer that is killed cannot tell: the fork server stays for its children, who wait for work for ever. A signal
    to the whole group is the trainer's to answer, who may need a batch more before it leaves.
    """
    import cv2

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


class _LoaderProcess(multiprocessing.context.ForkServerProcess):
    """A loader process that is killed where its trainer ends with the loader open, as after an error.

    Python would ask it with SIGTERM, which it leaves to the trainer, and wait for its end for ever.
    """

    def start(self) -> None:
        super().start()
        process = self._popen  # type: ignore[attr-defined]  # which knows whether the number still is this process's
        multiprocessing.util.Finalize(self, process.kill, exitpriority=0)


class _LoaderContext(multiprocessing.context.ForkServerContext):
    """Processes that begin clean: a fork would inherit the threads and locks of the trainer and its device."""

    Process = _LoaderProcess


def _context() -> multiprocessing.context.BaseContext:
    context = _LoaderContext()
    context.set_forkserver_preload(PRELOAD)
    return context
