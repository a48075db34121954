"""What a checkpoint says of how well it has learnt: the scores of its last validation, and the gates it passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anchor.files import read_json
from anchor.models.checkpoint import read_checkpoint
from anchor.models.exported import is_export

__all__ = ["HELD_OUT", "HeldOut", "read_held_out"]

HELD_OUT = "held_out"  # the key in a checkpoint


@dataclass(frozen=True)
class HeldOut:
    """The scores on held-out windows, ``split/name``, of batch ``step``; empty where there was no validation yet.

    ``gates`` are the verdicts on what the training was given, its ancestors' included: plain dictionaries.
    """

    step: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def forced(self) -> list[str]:
        """One sentence for every gate that was passed by force."""
        return [gate["sentence"] for gate in self.gates if gate["outcome"] == "forced"]


def read_held_out(path: str | Path) -> HeldOut | None:
    """The record in the checkpoint at ``path``; None of one that keeps none: an export, an import, an older one.

    A run that validates once more after its last save leaves those scores in ``result.json`` alone: the newer count.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = Path(path)
    if is_export(path):
        return None
    record = read_checkpoint(path).get(HELD_OUT)
    if not isinstance(record, dict):
        return None
    held = HeldOut(record["step"], record["scores"], record["gates"])
    result = read_json(path.parent.parent / "result.json") if path.name == "last.ckpt" else None
    if result and result.get("metrics") and result.get("steps", -1) > held.step:
        return HeldOut(result["steps"], result["metrics"], held.gates)
    return held
