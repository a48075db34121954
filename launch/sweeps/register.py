"""Our sweepers, made known to Hydra as ``hydra/sweeper=basic`` and ``hydra/sweeper=optuna``."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from launch.sweeps.grid import GridConfig, GridSweeper
from launch.sweeps.plugin import SweepFailedError
from launch.sweeps.search import OptunaConfig, OptunaSweeper

__all__ = ["SweepFailedError", "register_sweepers"]


def register_sweepers() -> None:
    """Let ``basic``, which is Hydra's default, and ``optuna`` be ours; doing it twice does no harm.

    Hydra takes a plugin only by a name of the package ``hydra_plugins``. A folder of that name would have to be found
    by its scan, from which an editable install hides it: the name is registered, and there is no such folder.
    """
    plugins, store = Plugins.instance(), ConfigStore.instance()
    for name, sweeper, config in (("basic", GridSweeper, GridConfig), ("optuna", OptunaSweeper, OptunaConfig)):
        plugins.register(sweeper)
        plugins.class_name_to_class[config._target_] = sweeper
        store.store(group="hydra/sweeper", name=name, node=config, provider="anchor")
