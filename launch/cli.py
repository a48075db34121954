"""`anchor train`: a Hydra application that composes once and hands the file to the workers."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchor.errors import AnchorError, ConfigError
from anchor.files import write_whole
from anchor.guard import check_packages
from anchor.signals import tell
from launch.confidential import check_secrets
from launch.hints import check_names, explain
from launch.hydra_guard import guard_hydra
from launch.record import RUN_LOCK, RunRecord
from launch.yaml_text import check_yaml_folder

__all__ = ["check_run", "compose_run", "train"]


def train(arguments: list[str]) -> int:
    """Run Hydra on ``arguments``; everything its users know works: -m, --cfg, --info, hydra.run.dir, launchers.

    The status is 0, or 1 where a sweep went through and some of its jobs failed.

    Raises:
        ConfigError: a key, a choice or a folder that cannot be; Hydra's own sentence.
    """
    check_packages()
    for argument in arguments:
        if "()" in argument.partition("=")[0]:
            raise ConfigError(f"{argument}: a logging factory is not allowed; it could call anything.")
    check_names(arguments)
    check_secrets(arguments)  # before Hydra keeps them
    for flag, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, value = flag.partition("=")
        if _is_short_for(name, "--experimental-rerun"):
            raise ConfigError(
                f"{name} is not allowed: it loads a pickle, which may run anything. Give the words of that run again; "
                "they stand in its .hydra/overrides.yaml."
            )
        if (name == "-cd" or _is_short_for(name, "--config-dir")) and (folder := value or following):
            check_yaml_folder(Path(folder))
    flags = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    if flags & {"-m", "--multirun"} and flags & {"-c", "--cfg", "-i", "--info"}:
        raise ConfigError(
            "-m runs, and --cfg or --info print: give one of them. Without -m, --cfg job shows the configuration of "
            "one job; each job of a sweep leaves its own as config.yaml."
        )
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from launch.sweeps.register import SweepFailedError, register_sweepers

    guard_hydra()
    register_sweepers()
    sys.argv = ["anchor train", *arguments]
    given = os.environ.get("HYDRA_FULL_ERROR")
    wants_traceback = given == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come to us, and not as Hydra's trimmed traceback
    application = hydra.main(version_base="1.3", config_path="pkg://anchor.conf", config_name="train")(_job)
    try:
        application()
    except SweepFailedError as error:
        print(f"anchor train: {error}", file=sys.stderr)
        return 1
    except (HydraException, OmegaConfBaseException) as error:  # before OSError, which some of Hydra's are too
        if wants_traceback:
            raise
        raise ConfigError(explain(error, arguments)) from error
    except OSError as error:
        if wants_traceback:
            raise
        raise ConfigError(f"the run's folder cannot be written ({error}). Give another run_dir=.") from error
    finally:
        if given is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = given
    return 0


def _is_short_for(flag: str, name: str) -> bool:
    """Whether Hydra's parser, which takes beginnings, may take ``flag`` for ``name``."""
    return len(flag) > 2 and name.startswith(flag)


def _job(config: Any) -> float | None:
    """What Hydra runs: the one run of a command, or a job of its sweep; returns what a sweeper reads."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from launch.sweeps.job import run_in_sweep

    return run_in_sweep(config, _run) if HydraConfig.get().mode == RunMode.MULTIRUN else _run(config)


def _run(config: Any) -> float | None:
    """Compose, check, launch; returns the monitored metric."""
    from launch.job import loading_environment
    from launch.spares import Spares, count_spares

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    count = count_spares(config.accelerator)
    if config.find_batch_size:
        count = min(count, 1)
    spares = Spares(count, loading_environment(count) if count else {})
    try:
        return _launch(config, spares)
    finally:
        spares.close()


def _launch(config: Any, spares: Any) -> float | None:
    """Run the job, alone in its folder; other nodes of a run share it, and meet at their rendezvous."""
    from launch.locks import claim
    from launch.sweeps.job import JobExit

    run_dir = _run_dir(config)
    record = RunRecord(run_dir)
    with contextlib.ExitStack() as stack:
        if config.accelerator.get("nodes", 1) == 1:
            try:
                stack.enter_context(claim(run_dir / RUN_LOCK, f"{run_dir}: another training runs there"))
            except ConfigError as error:
                tell(f"anchor train: {error}", is_trouble=True)
                raise JobExit(error.status, str(error)) from None
        return _launch_alone(config, spares, record)


def _launch_alone(config: Any, spares: Any, record: RunRecord) -> float | None:
    from omegaconf import OmegaConf

    from launch.job import JobError, StoppedError, run_job
    from launch.sweeps.job import JobExit

    try:
        path, machine = compose_run(config)
    except AnchorError as error:
        tell(f"anchor train: {error}", is_trouble=True)
        record.leave_nothing()
        raise JobExit(error.status, str(error)) from None
    tell(f"anchor train: {config.stage} on {machine}, in {path.parent}")
    if machine.warning:
        tell(f"anchor train: {machine.warning}", is_trouble=True)
    for verdict in OmegaConf.load(path).gates.verdicts:
        if verdict.outcome != "passed" and not verdict.inherited:
            tell(f"anchor train: {verdict.sentence}", is_trouble=True)
    if "expert" in config.module and config.module.expert is None:
        tell("anchor train: no expert judges this run; give module.expert=PATH for a sync loss.", is_trouble=True)
    try:
        result = run_job(path, machine, config.get("launch"), spares, config.get("watchdog"))
    except AnchorError as error:
        from launch.endpoint import AbsentError

        record.put_back()
        tell(f"anchor train: {error}", is_trouble=True)
        raise JobExit(1 if isinstance(error, AbsentError) else 2, str(error)) from None
    except JobError as error:
        if error.status == 2:
            record.put_back()
        tell(f"anchor train: {str(error).removesuffix('.')}.", is_trouble=True)
        raise JobExit(error.status, str(error), isinstance(error, StoppedError)) from None
    if "sentence" in result:
        tell(f"anchor train: {result['sentence']}")
        return None
    scores = "  ".join(f"{key} {value:.4f}" for key, value in sorted(result["metrics"].items()))
    tell(f"anchor train: {config.stage} done: {scores}\n  {result['checkpoint']}")
    return result["metrics"].get(config.monitor)


def _run_dir(config: Any) -> Path:
    """The run's folder, which is Hydra's output folder."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else config.run_dir)


def compose_run(config: Any) -> tuple[Path, Any]:
    """Resolve and check ``config``, write ``<run_dir>/config.yaml``; the run's folder is Hydra's output folder.

    Raises:
        ConfigError: a required value is missing, or a target is not allowed.
        DeviceError: the machine cannot give what ``accelerator`` asks.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    config.run_dir = str(_run_dir(config))
    resolved, machine = check_run(config)
    if machine.nodes > 1 and HydraConfig.initialized():
        check_folder(HydraConfig.get())
    path = Path(resolved["run_dir"]) / "config.yaml"
    write_whole(path, OmegaConf.to_yaml(OmegaConf.create(resolved)))  # other nodes write the same file
    return path, machine


def check_folder(hydra: Any) -> None:
    """See that a run of several nodes has a folder that all of them name alike; the default one holds the time.

    Raises:
        ConfigError: none was given.
    """
    from hydra.types import RunMode

    given = [word.lstrip("+").partition("=")[0] for word in (*hydra.overrides.task, *hydra.overrides.hydra)]
    if hydra.mode == RunMode.RUN and not {"run_dir", "hydra.run.dir"} & set(given):
        raise ConfigError("a run on several nodes needs run_dir=, one folder on a file system that all of them share.")


def check_run(config: Any, here: bool = True) -> tuple[dict[str, Any], Any]:
    """``config`` resolved and checked, and the machine that it asks for (None unless it runs ``here``); writes nothing.

    Raises:
        ConfigError: a required value is missing, or a target is not allowed.
        DeviceError: the machine cannot give what ``accelerator`` asks.
        GateError: a network that it is given has not learnt enough.
    """
    from omegaconf import OmegaConf

    from launch.accelerators import resolve_machine
    from launch.data import check_shards, check_sharing
    from launch.targets import check_targets

    if missing := sorted(OmegaConf.missing_keys(config)):
        raise ConfigError(f"{', '.join(f'{key}=' for key in missing)} must be given.")
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    _check_places(resolved, here)  # seconds before anything below has loaded
    check_shards(resolved["datamodule"])
    check_targets(resolved)
    check_secrets(resolved)
    if resolved["find_batch_size"]:
        _check_search(resolved)
    machine = resolve_machine(resolved["accelerator"]) if here else None
    if machine is not None:
        check_sharing(resolved["datamodule"], machine.devices * machine.nodes)
        if resolved["find_batch_size"]:  # on one card, for all of them
            resolved["find_batch_size"] = machine.devices * machine.nodes
            resolved["accelerator"].update(devices=1, nodes=1)
            machine = resolve_machine(resolved["accelerator"])
    from launch.build import check_resume
    from launch.checkpoints import find_resume

    resume = find_resume(resolved)
    if resume is not None:
        stage = resolved["module"]["_target_"].rpartition(".")[2].removesuffix("Module").lower()
        check_resume(resume, {"stage": stage})  # before anything in the folder is touched
    from launch.gates import check_networks

    resolved["gates"]["verdicts"] = check_networks(resolved)
    return resolved, machine


def _check_places(resolved: Mapping[str, Any], here: bool) -> None:
    """See that the checkpoints that a run is given are there, and that its nodes can meet.

    Raises:
        ConfigError: one is not, or they cannot.
    """
    for key in ("base", "expert"):
        path = resolved["module"].get(key)
        if path is None and not (key == "expert" or key not in resolved["module"]):
            raise ConfigError(f"module.{key}= must be given: the checkpoint of an earlier stage.")
        if path is not None and not Path(str(path)).exists():
            raise ConfigError(
                f"module.{key}={path}: no such checkpoint. A stage leaves it as RUN_DIR/checkpoints/last.ckpt."
            )
    resume = resolved["resume"]
    if resume not in ("auto", "none", None) and not Path(str(resume)).exists():
        raise ConfigError(f"resume={resume}: no such checkpoint. Use resume=auto, resume=none or a path.")
    if here and isinstance(nodes := resolved["accelerator"].get("nodes"), int) and nodes > 1:
        from launch.options import check_launch

        check_launch(resolved["launch"], nodes)


def _check_search(resolved: Mapping[str, Any]) -> None:
    """See that the largest batch can be looked for.

    Raises:
        ConfigError: on one card there is nothing to shard, or the folder holds a run.
    """
    if str(strategy := resolved["accelerator"].get("strategy")).startswith("fsdp"):
        raise ConfigError(
            f"find_batch_size=true looks on one card, and accelerator.strategy={strategy} shards over several. Find "
            "the size with accelerator.strategy=ddp, or try values of datamodule.batch_size= by hand."
        )
    folder = Path(resolved["run_dir"])
    if (folder / "checkpoints").is_dir() or (folder / "metrics.jsonl").is_file():
        raise ConfigError(
            f"find_batch_size=true: {folder} holds a run, whose config.yaml and result.json would be replaced. Give "
            "another run_dir=, or none."
        )
