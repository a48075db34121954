"""From a resolved configuration to module, datamodule and Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch import profilers
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden

from anchor.errors import CheckpointError, ConfigError
from anchor.models import check_mel, is_same, load_network, read_checkpoint
from anchor.models.perceptual import load_perceptual
from anchor.timing import WINDOW_FRAMES
from launch.accelerators import Machine, check_trainer
from launch.checkpoints import AtomicCheckpointIO, Choice, choose_resume, find_state
from launch.networks import CompileNetworks, prepare_networks
from launch.ranks import SameBuffers
from launch.targets import check_targets
from launch.tracking.callback import TrackingCallback
from launch.tracking.logger import WandbTracker
from launch.trainer import Trainer
from launch.watchdog.callback import Heartbeat
from lightning_modules.callbacks import HeldOutScores, OverfitCheck, PartialSteps
from lightning_modules.common import set_aside

__all__ = ["Run", "build", "check_resume", "instantiate_data"]


@dataclass(frozen=True)
class Run:
    """Everything a worker needs to train."""

    module: L.LightningModule
    datamodule: L.LightningDataModule
    trainer: Trainer
    resume: Choice  # the checkpoint to go on from


def build(config: Mapping[str, Any], machine: Machine) -> Run:
    """Check every target, then build; paths of networks become networks here.

    Raises:
        AnchorError: a target off the allow-list, a checkpoint that does not fit, an argument a class does not know.
    """
    check_targets(config)
    words = dict(config["module"])
    landmarks = words.pop("landmarks", "none")
    module = build_module(words)
    prepare_networks(module, config, machine)
    options = dict(config["datamodule"])
    if repeated := _overfit_batches(config["trainer"]):
        options["overfit_batches"] = repeated
    options["window_frames"] = _window_frames(options.get("window_frames"), module)
    datamodule = instantiate_data(options, module.net)
    if getattr(module, "landmark_weight", 0):
        from launch.lips import teach_lips

        datamodule.setup()
        set_aside(module, "lips", teach_lips(datamodule.source, landmarks, options["image_size"]))
    if machine.strategy == "fsdp2" and not is_overridden("configure_model", module):
        raise ConfigError("accelerator.strategy=fsdp2: this stage does not cut its network up. Use fsdp or ddp.")
    trainer = build_trainer(config, machine, by_hand=not module.automatic_optimization)
    resume = choose_resume(config)
    if resume.path is not None:
        check_resume(resume.path, module.hparams)
    if (state := find_state(trainer)) is not None:
        state.origin = resume.origin
    return Run(module, datamodule, trainer, resume)


def instantiate_data(options: Mapping[str, Any], net: Any) -> Any:
    """The datamodule of ``options``, with what ``net`` asks of its pictures where nothing else was asked."""
    options = dict(options)
    for key, wanted in (("image_size", net.image_size), ("references", getattr(net, "num_references", 1))):
        if options.get(key) is None:
            options[key] = wanted
    return _instantiate("datamodule", options)


def _window_frames(asked: Any, module: L.LightningModule) -> int:
    """As many frames as the expert sees at once: the one that learns, or the one that judges.

    Raises:
        ConfigError: another number was asked for.
    """
    expert = getattr(module, "expert", None) or module.net
    needed = int(getattr(expert, "window_frames", WINDOW_FRAMES))
    if asked is not None and asked != needed and hasattr(expert, "window_frames"):
        raise ConfigError(
            f"datamodule.window_frames={asked}: the expert sees {needed} frames at once. Leave it out, or teach an "
            f"expert with model.expert.window_frames={asked}."
        )
    return needed if asked is None else asked


def build_module(options: Mapping[str, Any]) -> L.LightningModule:
    """The stage's module; ``base`` (a generator's checkpoint) becomes ``net``, ``expert`` the judge."""
    options = dict(options)
    networks: dict[str, Any] = {}
    weights = options.pop("weights", "auto")
    if "base" in options:
        networks["net"] = load_network(options.pop("base"), "generator", weights)
    if "expert" in options:
        path = options.pop("expert")
        networks["expert"] = load_network(path, "expert", weights) if path is not None else None
    if options.get("perceptual") is not None:
        networks["perceptual"] = load_perceptual(options.pop("perceptual"))
    return _instantiate("module", {**options, "_partial_": True})(**networks)


def build_trainer(config: Mapping[str, Any], machine: Machine, by_hand: bool) -> Trainer:
    """The Trainer; its ``max_steps`` counts every optimizer's steps, ours those of each.

    With ``by_hand`` accumulation and clipping are the module's: Lightning refuses them.

    Raises:
        ConfigError: an argument that Lightning does not take.
        DeviceError: the machine cannot do it, or Lightning would compute on another.
    """
    options = dict(config["trainer"])
    arguments = machine.trainer_arguments(by_hand)
    options["profiler"] = _profiler(options.get("profiler"), machine, config["run_dir"])
    _check_strategy(options, machine)
    for key in ("strategy", "precision", "plugins"):
        if options.get(key) is None:
            options.pop(key, None)
    for key in ("max_steps", "min_steps", "max_epochs"):
        if options[key] is not None and not isinstance(options[key], int):
            raise ConfigError(f"trainer.{key}={options[key]} is not a whole number.")
    for key in ("max_steps", "min_steps"):
        if by_hand and (options[key] or 0) > 0:
            options[key] *= 2  # both networks step, and Lightning counts each
    if by_hand:
        options.update(accumulate_grad_batches=1, gradient_clip_val=None, gradient_clip_algorithm=None)
    options["max_epochs"] = options["max_epochs"] if options["max_epochs"] is not None else -1
    callbacks: list[Any] = [Heartbeat()]
    callbacks += [_instantiate(f"callbacks.{name}", spec) for name, spec in config["callbacks"].items() if spec]
    callbacks += [PartialSteps(), HeldOutScores((config.get("gates") or {}).get("verdicts", []))]
    if config.get("compile"):
        callbacks.append(CompileNetworks())
    if _overfit_batches(options):
        callbacks.append(OverfitCheck())
    options["overfit_batches"] = 0.0  # the datamodule repeats them: Lightning would replace our order by one of its own
    plugins = options.pop("plugins", None) or []
    plugins = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
    plugins += arguments.pop("plugins", [])
    loggers = build_loggers(config["logger"])
    callbacks += [TrackingCallback(logger, config) for logger in loggers if isinstance(logger, WandbTracker)]
    if machine.world_size > 1:
        callbacks.append(SameBuffers())
    try:
        trainer = Trainer(
            on_failed_save=config["on_failed_save"],
            **{**arguments, **options},
            callbacks=callbacks,
            logger=loggers,
            plugins=plugins,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {error}") from error
    if not {"strategy", "precision"} & options.keys():  # who gives these by hand has chosen
        check_trainer(trainer, machine)
    return trainer


def _check_strategy(options: Mapping[str, Any], machine: Machine) -> None:
    """See that no argument of the Trainer contradicts the machine, or would be ignored by it."""
    for key in ("strategy", "precision"):
        if machine.name == "mlu" and options.get(key) is not None:
            raise ConfigError(f"trainer.{key}={options[key]}: an MLU takes it as accelerator.{key}={options[key]}.")
    if machine.name == "cpu" and machine.world_size > 1 and options.get("sync_batchnorm"):
        raise ConfigError("trainer.sync_batchnorm=true: PyTorch has it for cards only. Leave it out on a CPU.")
    if machine.strategy == "fsdp2" and options.get("sync_batchnorm"):
        raise ConfigError("trainer.sync_batchnorm=true: FSDP2 in Lightning ignores it. Use accelerator.strategy=fsdp.")


def _overfit_batches(options: Mapping[str, Any]) -> int:
    """``trainer.overfit_batches`` as a number of batches.

    Raises:
        ConfigError: it is a share of the batches, or nothing of the kind.
    """
    value = options["overfit_batches"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise ConfigError(f"trainer.overfit_batches={value} is no number of batches. Give a whole number.")
    return int(value)


def _profiler(asked: Any, machine: Machine, run_dir: str) -> Any:
    """A profiler by its name, whose report comes into ``<run_dir>/profile``."""
    folder: dict[str, Any] = {"dirpath": str(Path(run_dir) / "profile"), "filename": str(asked)}
    if asked == "simple":
        return profilers.SimpleProfiler(**folder)
    if asked == "advanced":
        return profilers.AdvancedProfiler(**folder)
    if asked != "pytorch":
        return asked
    # Ten steps once: Lightning would start over every five, and report what came last, which is no training.
    folder["schedule"] = torch.profiler.schedule(wait=2, warmup=2, active=10, repeat=1)
    if machine.name != "mlu":
        return profilers.PyTorchProfiler(**folder)
    from launch.mlu import MLUProfiler  # Lightning's own records no card but CUDA

    return MLUProfiler(**folder)


def build_loggers(options: Mapping[str, Any]) -> list[Logger]:
    """The loggers that ``options`` describe: one, or one under each key.

    Raises:
        ConfigError: an argument that a logger does not know, or a package that it needs is missing.
    """
    specs = {"logger": options} if "_target_" in options else {f"logger.{key}": spec for key, spec in options.items()}
    return [_instantiate(place, spec) for place, spec in specs.items() if spec and spec.get("_target_")]


def check_resume(path: Path, wanted: Mapping[str, Any]) -> None:
    """See that the checkpoint at ``path`` is of the ``stage`` and ``net`` (its description) that are ``wanted``.

    Raises:
        CheckpointError: it is of another one; names both.
    """
    checkpoint = read_checkpoint(path)
    check_mel(path, checkpoint)
    held = checkpoint["hyper_parameters"]
    for key in ("stage", "net"):  # in this order: of another stage says more than of another network
        if key in wanted and not is_same(held.get(key), wanted[key]):
            raise CheckpointError(
                f"{path}: its {key} is {held.get(key)}, and this run's is {wanted[key]}. "
                "Give another run_dir, or resume=none to start anew."
            )


def _instantiate(place: str, options: Mapping[str, Any]) -> Any:
    try:
        return instantiate(dict(options), _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError):  # our own sentences pass through Hydra wrapped
            raise (
                type(cause)(*cause.args) if isinstance(cause, ConfigError) else ConfigError(f"{place}: {cause}")
            ) from error
        if isinstance(cause, ImportError):
            said = str(cause).splitlines()[0]
            raise ConfigError(f"{place}: a package is missing ({said}) Install it, or choose another.") from error
        if isinstance(cause, TypeError):
            raise ConfigError(f"{place}: {cause}. See `anchor train --cfg job` for the keys.") from error
        raise
