"""All the meters of one generator, by the names of their scores."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from torchmetrics import Metric

from anchor.evaluation.meters import ClipValues

__all__ = ["Board"]


class Board:
    """Makes a meter when its score is first counted."""

    def __init__(self) -> None:
        self.meters: dict[str, Metric] = {}

    def count(self, name: str, make: Callable[[], Metric], *values: Any) -> float:
        """Count one clip under ``name`` and say what it is worth alone; NaN where nothing could be counted."""
        meter = self.meters.setdefault(name, make())
        return float(meter(*values))

    def add(self, name: str, make: Callable[[], Metric], *values: Any) -> None:
        """Count one clip whose own value costs too much to know."""
        self.meters.setdefault(name, make()).update(*values)

    def join(self, other: Board) -> None:
        """Count what ``other`` counted, too; it is used up."""
        for name, theirs in other.meters.items():
            mine = self.meters.setdefault(name, theirs)
            if mine is not theirs:
                states: dict[str, Any] = dict(mine.metric_state)
                for state, value in theirs.metric_state.items():
                    setattr(mine, state, states[state] + value)  # sums add up, lists follow each other

    def without_networks(self) -> Board:
        """Itself, all counted: the networks that its meters asked stay where they are when it is sent elsewhere."""
        for meter in self.meters.values():
            if hasattr(meter, "net"):
                del meter.net
        return self

    def scores(self) -> dict[str, float]:
        """Every score that is a number; ``_p10`` stands beside what is one value a clip."""
        scores: dict[str, float] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a meter without clips is NaN, and left out
            for name, meter in self.meters.items():
                scores[name] = float(meter.compute())
                if isinstance(meter, ClipValues):
                    scores[f"{name}_p10"] = meter.quantile(0.1)
        return {name: value for name, value in scores.items() if math.isfinite(value)}
