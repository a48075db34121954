"""``Module.load_from_checkpoint`` that runs nothing of what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from anchor.errors import ConfigError
from anchor.models import read_checkpoint
from anchor.models.checkpoint import held_networks
from anchor.models.describe import check_description

__all__ = ["PlainLoading"]


class PlainLoading(L.LightningModule):
    """Lightning's own loading with ``weights_only=True``, whatever is asked, and of files on this machine alone.

    Lightning unpickles a checkpoint that it fetches from an address, with all that stands in it.
    """

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *arguments: Any, **options: Any) -> Any:
        """The module at ``checkpoint_path``; see Lightning.

        Raises:
            CheckpointError: it is missing, damaged, holds more than tensors and plain types, or describes a network of
                more numbers than the file has bytes.
            ConfigError: an address; fetch the file, and give its path.
        """
        if "://" in str(checkpoint_path):
            raise ConfigError(f"{checkpoint_path}: a checkpoint is loaded from a file. Fetch it, and give its path.")
        checkpoint = read_checkpoint(checkpoint_path)  # seal and content, before Lightning builds anything
        for description in held_networks(checkpoint).values():
            check_description(description, Path(checkpoint_path).stat().st_size)
        options["weights_only"] = True
        return super().load_from_checkpoint(checkpoint_path, *arguments, **options)
