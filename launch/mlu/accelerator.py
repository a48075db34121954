"""The accelerator: cards, and what they tell of themselves."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.utilities import rank_zero_info

from launch.mlu import library
from launch.mlu.errors import MLUError

__all__ = ["MLUAccelerator"]


class MLUAccelerator(Accelerator):
    """Cambricon MLU cards, through torch_mlu."""

    def setup_device(self, device: torch.device) -> None:
        """Make ``device`` the current one.

        Raises:
            MLUError: it is no MLU. Lightning's own choice of strategy puts a single unknown card on the CPU.
        """
        if device.type != "mlu":
            raise MLUError(
                f"The strategy would train on {device}, and an MLU was asked for. With one card Lightning's "
                "strategy='auto' knows no MLU: give strategy='mlu', or SingleMLUStrategy()."
            )
        torch.mlu.set_device(device)  # type: ignore[attr-defined]

    def setup(self, trainer: L.Trainer) -> None:
        """See that the run computes where and how it was asked to, then free what an earlier one kept.

        Raises:
            MLUError: it would fall to the CPU or to float32 in silence.
        """
        from launch.mlu.checks import check_trainer

        check_trainer(trainer)
        count = self.auto_device_count()
        rank_zero_info(f"MLU available: {count} x {library.card_name()}, used: {trainer.num_devices}")
        torch.mlu.empty_cache()  # type: ignore[attr-defined]

    def teardown(self) -> None:
        """Give the cached memory back."""
        torch.mlu.empty_cache()  # type: ignore[attr-defined]

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        """The allocator's numbers in bytes and counts, and ``free_bytes`` and ``total_bytes`` of the card."""
        stats = torch.mlu.memory_stats(device)  # type: ignore[attr-defined]
        free, total = torch.mlu.mem_get_info(device)  # type: ignore[attr-defined]
        numbers = {key: float(value) for key, value in stats.items() if isinstance(value, (int, float))}
        return {**numbers, "free_bytes": float(free), "total_bytes": float(total)}

    @staticmethod
    def parse_devices(devices: int | str | list[int]) -> list[int]:
        """Numbers of cards: ``2`` is the first two, ``[1, 3]`` and ``"1,3"`` are these, ``-1`` is all.

        Raises:
            MLUError: a card that is not there, or none at all.
        """
        count = MLUAccelerator.auto_device_count()
        chosen = _numbers(devices, count)
        if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) >= count:
            hiding = library.hiding_variable()
            raise MLUError(
                f"devices={devices} asks for MLU {', '.join(map(str, chosen)) or 'none'}, and {count} "
                f"{'is' if count == 1 else 'are'} visible{f' ({hiding})' if hiding else ''}."
            )
        return chosen

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        """One device for each process of this machine."""
        return [torch.device("mlu", number) for number in devices]

    @staticmethod
    def auto_device_count() -> int:
        """All visible cards."""
        return library.cards()

    @staticmethod
    def is_available() -> bool:
        """Whether there is a card at all."""
        return library.cards() > 0

    @staticmethod
    def name() -> str:
        """As in ``Trainer(accelerator="mlu")``."""
        return "mlu"

    @classmethod
    def register_accelerators(cls, accelerator_registry: Any) -> None:
        """Make the name known."""
        accelerator_registry.register(cls.name(), cls, description="Cambricon MLU", override=True)


def _numbers(devices: int | str | list[int], count: int) -> list[int]:
    try:
        if isinstance(devices, str) and "," in devices:
            return [int(word) for word in devices.split(",") if word.strip()]
        if isinstance(devices, (str, int)):
            wanted = int(devices)
            return list(range(count if wanted == -1 else wanted))
        return [int(number) for number in devices]
    except (TypeError, ValueError):
        raise MLUError(f"devices={devices} names no cards. Give a number, or their numbers as [0, 1].") from None
