"""What a folder says of the run in it, for when a command is refused there."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from anchor.files import write_whole

__all__ = ["RUN_LOCK", "RunRecord"]

RUN_LOCK = ".running"  # held by the training that runs in the folder
HYDRAS = {".hydra", "cli.log", RUN_LOCK}  # written before a run is composed


class RunRecord:
    """What a folder held before a command composed a run into it: its ``config.yaml``, or nothing but Hydra's words."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.config, self.last = (
            run_dir.absolute(),
            run_dir / "config.yaml",
            run_dir / "checkpoints" / "last.ckpt",
        )
        self._was_empty = run_dir.is_dir() and {path.name for path in run_dir.iterdir()} <= HYDRAS
        self._text = self.config.read_text(encoding="utf-8") if self.config.is_file() else None
        self._saved = self._when_saved()

    def put_back(self) -> None:
        """Let the configuration be that of the checkpoints again, unless the refused run has saved one of its own."""
        if self._text is not None and self._when_saved() == self._saved:
            write_whole(self.config, self._text)

    def leave_nothing(self) -> None:
        """Take away what composing alone has written, of a run that was refused before it began."""
        if self._was_empty and {path.name for path in self.run_dir.iterdir()} <= HYDRAS:
            root = logging.getLogger()
            for handler in list(root.handlers):  # of Hydra, whose file would be missed
                if isinstance(handler, logging.FileHandler) and self.run_dir in Path(handler.baseFilename).parents:
                    root.removeHandler(handler)
                    handler.close()
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def _when_saved(self) -> int | None:
        return self.last.stat().st_mtime_ns if self.last.is_file() else None
