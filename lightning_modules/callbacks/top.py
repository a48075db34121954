"""The best few checkpoints, beside the best one."""

from __future__ import annotations

from lightning.pytorch.callbacks import ModelCheckpoint

__all__ = ["TopCheckpoints"]


class TopCheckpoints(ModelCheckpoint):
    """Keep the ``save_top_k`` best as ``<dirpath>/step-N.ckpt``; -1 keeps all.

    ``N`` is the trainer's ``global_step``, which counts both networks of the GAN stage. A class of its own, because two
    ``ModelCheckpoint`` of the same monitor would share one entry in a checkpoint, and Lightning refuses that.
    """

    def __init__(self, *, dirpath: str, monitor: str, mode: str = "min", save_top_k: int = 5) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="step-{step}",
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
