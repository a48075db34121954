"""Lightning's CSV logger, which a full disk does not end a run through."""

from __future__ import annotations

import sys

from lightning.pytorch.loggers import CSVLogger

__all__ = ["PatientCSVLogger"]


class PatientCSVLogger(CSVLogger):
    """``CSVLogger`` whose rows wait while its file cannot be written; ``metrics.jsonl`` is the run's record."""

    _is_said = False

    def save(self) -> None:
        """Write the rows that wait; say once that it cannot be."""
        try:
            super().save()
        except OSError as error:
            if not self._is_said:
                self._is_said = True
                print(f"\nanchor train: {self.log_dir}: {error.strerror}; the rows wait.", file=sys.stderr, flush=True)
