"""What a session shows: an avatar as pictures by number, with the box of the face in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["Action", "StagePictures", "Walk"]


class StagePictures(Protocol):
    """An avatar in the server's memory. Pictures may be looked at from several threads."""

    width: int  # px, even
    height: int
    boxes_N4: np.ndarray  # float, the face's crop in every picture: x0, y0, x1, y1

    def __len__(self) -> int: ...

    def picture(self, number: int) -> np.ndarray:
        """uint8 RGB (H, W, 3); not to be painted on."""
        ...

    def crop(self, number: int) -> np.ndarray:
        """uint8 RGB (S, S, 3), the face as the network sees it."""
        ...


@dataclass(frozen=True)
class Action:
    """A stretch of pictures that is shown once when it is asked for."""

    name: str
    first: int
    last: int  # the one after its end


class Walk:
    """Which picture each tick shows: the idle stretch back and forth, and actions in between.

    Back and forth has no seam. An action begins where the walk is nearest to its first picture in time, that is at
    once; what it jumps over is the action's own in point, which who made the avatar chose to look like idling.
    """

    def __init__(self, idle: tuple[int, int], actions: Sequence[Action] = ()) -> None:
        self._first, self._last = idle
        assert self._last > self._first, "an idle stretch has a picture"
        self._actions = {action.name: action for action in actions}
        self._steps = self._idle()
        self._acting: Iterator[int] | None = None
        self.action = ""  # that is shown now

    @property
    def actions(self) -> list[str]:
        """Names."""
        return list(self._actions)

    def act(self, name: str) -> bool:
        """Show an action from the next tick on; False where there is none of that name."""
        action = self._actions.get(name)
        if action is None:
            return False
        self._acting, self.action = iter(range(action.first, action.last)), name
        return True

    def next(self) -> int:
        """The picture of the next tick."""
        if self._acting is not None:
            number = next(self._acting, None)
            if number is not None:
                return number
            self._acting, self.action = None, ""
        return next(self._steps)

    def _idle(self) -> Iterator[int]:
        while True:
            yield from range(self._first, self._last)
            yield from range(self._last - 2, self._first, -1)
