"""What an item of the qualification found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "FAILED",
    "ITEMS",
    "OK",
    "SHOWS_NOTHING",
    "SKIPPED",
    "UNFIT",
    "Item",
    "NetworkMaker",
    "NotHereError",
    "Outcome",
    "QualificationError",
    "Scene",
    "item",
]

OK, FAILED, SKIPPED, UNFIT = "ok", "failed", "skipped", "not on this card"
SHOWS_NOTHING = "simulated: shows nothing"


class QualificationError(RuntimeError):
    """There is nothing to qualify; the message says why and what to do."""


class NotHereError(Exception):
    """Raised by an item that cannot be tried: ``state`` is SKIPPED, or UNFIT where the card says that it cannot."""

    def __init__(self, text: str, state: str = SKIPPED) -> None:
        super().__init__(text)
        self.state = state


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    item: str
    state: str  # ok, failed, skipped or "not on this card"
    text: str  # a figure, or the reason
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


# Networks by name, each with the inputs of one step; a function of a module, so that it travels to another process.
NetworkMaker = Callable[[], "dict[str, tuple[nn.Module, tuple[Tensor, ...]]]"]


@dataclass(frozen=True)
class Scene:
    """Where an item runs: one process of ``ranks``."""

    rank: int
    ranks: int
    port: int  # free on this machine, for rank 0 to listen on
    folder: str  # empty, shared by the ranks
    is_simulated: bool
    make_networks: NetworkMaker | None


@dataclass(frozen=True)
class Item:
    """One thing to try: ``run`` returns a figure, or raises."""

    name: str
    question: str
    run: Callable[[Scene], str]
    ranks: int
    timeout_s: int
    needs_real_card: bool
    variables: dict[str, str]


ITEMS: list[Item] = []


def item(
    name: str,
    question: str,
    *,
    ranks: int = 1,
    timeout_s: int = 120,
    needs_real_card: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Scene], str]], Callable[[Scene], str]]:
    """Put a function on the list of items, in the order in which they are written.

    ``variables`` stand in the item's environment before torch_mlu is imported. An item that ``needs_real_card`` does
    not run on a simulated one, which could not show it.
    """

    def enlist(run: Callable[[Scene], str]) -> Callable[[Scene], str]:
        ITEMS.append(Item(name, question, run, ranks, timeout_s, needs_real_card, dict(variables or {})))
        return run

    return enlist
