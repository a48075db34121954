"""What Hydra does by itself with a configuration, before our application sees it: looked at before it is done.

Hydra builds launchers, sweepers and callbacks, configures Python's logging, and sets environment variables. Each of
them could start a program: a logging handler is any class with any arguments, ``PYTHONPATH`` is code for every rank,
and the set-up lines of a scheduler are a shell script. A configuration that came from elsewhere may do none of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anchor.errors import ConfigError
from launch.confidential import check_secrets
from launch.targets import ALLOWED, check_target

__all__ = ["ENVIRONMENT", "check_hydra", "guard_hydra"]

# Launchers, sweepers and callbacks: a class must be defined below the prefix that its name begins with.
OURS = ("launch.sweeps.grid.GridSweeper", "launch.sweeps.search.OptunaSweeper")
HYDRAS_OWN = ("hydra._internal.core_plugins.", "hydra_plugins.", "hydra.experimental.callbacks.")
# What hydra.job.env_set may set: nothing that names a file to load, a program or an address.
ENVIRONMENT = (
    "CNCL_LOG_LEVEL", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES", "GLOO_SOCKET_IFNAME", "HYDRA_FULL_ERROR",
    "MLU_VISIBLE_DEVICES", "NCCL_DEBUG", "NCCL_IB_DISABLE", "NCCL_P2P_DISABLE", "NCCL_SOCKET_IFNAME", "OMP_NUM_THREADS",
    "TOKENIZERS_PARALLELISM", "WANDB_MODE", "WANDB_SILENT",
)  # fmt: skip
LOGGING = ("logging.", "colorlog.")  # where handlers, formatters and filters come from
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
SCRIPTS = ("setup", "srun_args", "additional_parameters")  # of a scheduler's launcher: words of a shell script


def guard_hydra() -> None:
    """Put :func:`check_hydra` and the allow-list of targets where Hydra composes and builds; once is enough."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.instantiate import _instantiate2 as door

    if getattr(door._resolve_target, "is_guarded", False):
        return
    resolve, load = door._resolve_target, ConfigLoaderImpl.load_configuration

    def resolve_checked(target: Any, full_key: str) -> Any:
        name = target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"
        if name not in OURS:
            check_target(full_key, name, ALLOWED + HYDRAS_OWN)
        return resolve(target, full_key)

    def load_checked(self: Any, *arguments: Any, **options: Any) -> Any:
        config = load(self, *arguments, **options)
        check_hydra(config.hydra)
        check_names_of_folders(config)
        return config

    resolve_checked.is_guarded = True  # type: ignore[attr-defined]
    door._resolve_target = resolve_checked
    ConfigLoaderImpl.load_configuration = load_checked  # type: ignore[method-assign]


def check_names_of_folders(config: Any) -> None:
    """See that no secret becomes the name of a folder or a log, which Hydra makes before our application begins.

    Raises:
        ConfigError: one would; says where, and not what.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for place in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name"):
        try:
            name = str(OmegaConf.select(config, place))
        except (OmegaConfBaseException, ValueError):  # what only a job can say, as its number
            continue
        check_secrets({place: name})


def check_hydra(options: Any) -> None:
    """See that nothing in ``options``, the composed ``hydra`` node, would start a program.

    Raises:
        ConfigError: something would; names it.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(options, resolve=False) if OmegaConf.is_config(options) else options
    for group in ("job_logging", "hydra_logging"):
        for place, key, value in _leaves(plain.get(group), f"hydra.{group}"):
            is_call = key in ("()", "class") and not str(value).startswith(LOGGING)
            if is_call or (isinstance(value, str) and ("ext://" in value and value not in STREAMS)):
                said = f"{value!s:.300} is not allowed: logging is made of Python's own classes alone."
                raise ConfigError(f"{place}={said}")
    for name in _group(_group(plain, "job"), "env_set"):
        if name not in ENVIRONMENT:
            raise ConfigError(
                f"hydra.job.env_set.{name} is not allowed; it may set {', '.join(ENVIRONMENT)}. Set {name} in the "
                "environment of the command itself."
            )
    for group in ("launcher", "sweeper"):
        target = _group(plain, group).get("_target_")
        if target is not None and not str(target).startswith(HYDRAS_OWN):
            raise ConfigError(f"hydra.{group}._target_={target!s:.300} is not allowed: it is no {group} of Hydra.")
    given = [str(word).lstrip("+") for word in _group(plain, "overrides").get("hydra") or []]
    launcher = _group(plain, "launcher")
    for key in SCRIPTS:
        if launcher.get(key) and not any(word.startswith(f"hydra.launcher.{key}") for word in given):
            raise ConfigError(
                f"hydra.launcher.{key}={launcher[key]!s:.300} stands in a file, and becomes lines of a shell script. "
                "Give it on the command line, once you have read it."
            )


def _group(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The keys below ``name``; none where it is not there.

    Raises:
        ConfigError: something else stands there.
    """
    value = options.get(name) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"hydra's {name}={value!s:.80} is no group of keys.")
    return value


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """``(place, key, value)`` of everything below ``value`` that is no mapping and no list."""
    pairs: Any = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    for key, item in pairs:
        where = f"{place}.{key}"
        if isinstance(item, (Mapping, list, tuple)):
            yield from _leaves(item, where)
        else:
            yield where, key, item
