"""Lightning's PyTorch profiler, with the card's activity beside the processor's."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.profilers import PyTorchProfiler
from torch.profiler import ProfilerActivity

__all__ = ["MLUProfiler", "card_activities"]


def card_activities() -> list[ProfilerActivity]:
    """The processor, and the card as PyTorch calls any device that is not built in."""
    return [ProfilerActivity.CPU, ProfilerActivity.PrivateUse1]


class MLUProfiler(PyTorchProfiler):
    """``PyTorchProfiler`` that records the card too; all its arguments are Lightning's.

    Lightning adds the card's activity where it finds CUDA only. Tables are sorted by the processor's time unless
    ``sort_by_key`` says otherwise: Lightning allows no key of another device.
    """

    def __init__(self, dirpath: Any = None, filename: str | None = None, **options: Any) -> None:
        options.setdefault("activities", card_activities())
        super().__init__(dirpath=dirpath, filename=filename, **options)
