"""The largest batch that a machine holds: ``anchor train ... find_batch_size=true``."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.memory import is_oom_error

from anchor.errors import ConfigError, DeviceError
from launch.accelerators import Machine
from launch.build import build
from launch.mlu import is_out_of_memory

__all__ = ["find_batch_size", "search"]

STEPS = 2  # the first makes the optimizer's state, the second needs all that there ever is


def find_batch_size(config: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Try batches on one card, larger and larger, and say what to set; returns what belongs into ``result.json``.

    ``config["find_batch_size"]`` is the number of cards that share a batch. A card's part of it is a whole number of
    groups of ``windows_per_clip``. Each try is a training of its own with two steps and a batch of validation: it has
    the optimizer's state, the averaged weights, gradients that wait, the sync loss from its first step, and with
    several cards a second copy of the gradients, as DistributedDataParallel keeps one. Nothing is written.

    Raises:
        DeviceError: not even the smallest batch fits.
        ConfigError: several ranks look at once.
    """
    if machine.world_size != 1:
        raise ConfigError("find_batch_size looks on one card. Start it by `anchor train`, not by torchrun.")
    cards, group = int(config["find_batch_size"]), int(config["datamodule"]["windows_per_clip"])
    windows = _windows_of_an_epoch(config, machine)
    limit = max(1, windows // (group * cards))

    def fits(groups: int) -> bool:
        found = _fits(config, machine, groups * group, cards > 1)
        print(f"  {groups * group} windows on a card: {'fit' if found else 'do not fit'}", file=sys.stderr, flush=True)
        return found

    most = search(fits, limit)
    if not most:
        raise DeviceError(
            f"not even {group} windows on a card fit. Set activation_checkpointing=true, "
            "accelerator.precision=bf16-mixed, a smaller datamodule.windows_per_clip or a smaller model=."
        )
    size = most * group * cards
    whole = ", which is all of an epoch" if most == limit else ""
    share = f"{most * group} on each of {cards} cards" if cards > 1 else "on one card"
    sentence = f"up to {size} windows fit ({share}{whole}): set datamodule.batch_size={size}"
    return {"batch_size": size, "sentence": sentence, "checkpoint": "", "steps": 0, "metrics": {}}


def search(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that ``fits``, 0 if none does: doubled while it fits, then halved between."""
    most, least_bad = 0, limit + 1
    trial = 1
    while trial < least_bad:
        if fits(trial):
            most = trial
            trial = min(2 * trial, limit) if most < limit else least_bad
        else:
            least_bad = trial
    while least_bad - most > 1:
        middle = (most + least_bad) // 2
        if fits(middle):
            most = middle
        else:
            least_bad = middle
    return most


def _windows_of_an_epoch(config: Mapping[str, Any], machine: Machine) -> int:
    datamodule = build(_for_trial(config, int(config["datamodule"]["windows_per_clip"])), machine).datamodule
    return int(datamodule.train_dataloader().sampler.num_windows)


def _fits(config: Mapping[str, Any], machine: Machine, batch_size: int, has_neighbours: bool) -> bool:
    """Whether a training with ``batch_size`` windows on this card ends; every other failure is its own."""
    is_short = False
    try:
        _train(_for_trial(config, batch_size), machine, has_neighbours)
    except Exception as error:
        if not (is_oom_error(error) or is_out_of_memory(error)):
            raise
        is_short = True  # the traceback holds the activations: they go with it
    gc.collect()
    card = getattr(torch, machine.name, None)
    if card is not None and hasattr(card, "empty_cache"):
        with contextlib.suppress(RuntimeError):  # a card that is short of memory may be short of this too
            card.empty_cache()
    return not is_short


def _train(config: Mapping[str, Any], machine: Machine, has_neighbours: bool) -> None:
    run = build(config, machine)
    learning = sum(value.numel() for value in run.module.parameters() if value.requires_grad)
    buckets = torch.empty(learning if has_neighbours else 0, device=run.trainer.strategy.root_device)
    run.trainer.fit(run.module, datamodule=run.datamodule)
    del buckets


def _for_trial(config: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """``config`` for a short training that leaves nothing behind."""
    module, callbacks = dict(config["module"]), dict(config["callbacks"])
    if "sync_start_step" in module:
        module.update(sync_start_step=0, sync_ramp_steps=1)  # the judge comes late, and needs memory
    accumulate = min(2, config["trainer"]["accumulate_grad_batches"])
    if "accumulate_grad_batches" in module:
        module["accumulate_grad_batches"] = accumulate
    trainer = {
        **config["trainer"], "max_steps": STEPS, "max_epochs": -1, "min_steps": None, "max_time": None,
        "accumulate_grad_batches": accumulate, "val_check_interval": 1, "limit_val_batches": 1,
        "limit_train_batches": None, "num_sanity_val_steps": 0, "enable_checkpointing": False, "profiler": None,
        "overfit_batches": 0.0, "detect_anomaly": False,
    }  # fmt: skip
    return {
        **config,
        "module": module,
        "trainer": trainer,
        "callbacks": {name: spec for name, spec in callbacks.items() if name == "ema"},
        "logger": {"_target_": None},
        "resume": "none",
        "datamodule": {**config["datamodule"], "batch_size": batch_size, "num_workers": 0, "quarantine": None},
    }
