"""What a folder says of the run in it, for when a command is refused there."""

from __future__ import annotations

from pathlib import Path

from anchor.files import write_whole

__all__ = ["RunRecord"]


class RunRecord:
    """The ``config.yaml`` that a folder had before a command composed another one into it."""

    def __init__(self, run_dir: Path) -> None:
        self.config, self.last = run_dir / "config.yaml", run_dir / "checkpoints" / "last.ckpt"
        self._text = self.config.read_text(encoding="utf-8") if self.config.is_file() else None
        self._saved = self._when_saved()

    def put_back(self) -> None:
        """Let the configuration be that of the checkpoints again, unless the refused run has saved one of its own."""
        if self._text is not None and self._when_saved() == self._saved:
            write_whole(self.config, self._text)

    def _when_saved(self) -> int | None:
        return self.last.stat().st_mtime_ns if self.last.is_file() else None
