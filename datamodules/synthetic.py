"""Windows of speakers rendered in memory: every experiment starts without a file on disk."""

from __future__ import annotations

from typing import Any

from anchor.batch import ClipSource
from datamodules.base import WindowDataModule

__all__ = ["SyntheticDataModule"]


class SyntheticDataModule(WindowDataModule):
    """Windows of drawn speakers.

    Args:
        speakers, clips, seconds: how many speakers, clips of each, and their length.
        val_speakers: how many of the speakers are held out for validation.
        **options: as in :class:`WindowDataModule`.
    """

    def __init__(
        self, *, speakers: int = 8, clips: int = 2, seconds: float = 2.0, val_speakers: int = 2, **options: Any
    ) -> None:
        super().__init__(**options)
        self.speakers, self.clips, self.seconds, self.val_speakers = speakers, clips, seconds, val_speakers

    def open_source(self) -> ClipSource:
        """The speakers, drawn when they are first read."""
        from anchor.synth.source import SyntheticSource  # the renderer and espeak-ng load only where they are used

        return SyntheticSource(
            speakers=self.speakers,
            clips=self.clips,
            seconds=self.seconds,
            image_size=self.image_size,
            seed=self.seed,
            val_speakers=self.val_speakers,
        )
