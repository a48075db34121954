"""What a session shows: an avatar as pictures by number, and which of them each tick shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

__all__ = ["Action", "StagePictures", "Step", "Walk"]


class StagePictures(Protocol):
    """An avatar in the server's memory. Pictures may be looked at from several threads, and are not painted on."""

    width: int  # px, even
    height: int
    boxes_N4: np.ndarray  # float, the face's crop in every picture: x0, y0, x1, y1
    presence_N: np.ndarray  # float in [0, 1], how much of a drawn mouth each picture shows
    regions_N4: np.ndarray  # int, what a drawn mouth may change: left, top, right, bottom

    def __len__(self) -> int: ...

    def picture(self, number: int) -> np.ndarray:
        """uint8 RGB (H, W, 3), as it was filmed."""
        ...

    def rest(self, number: int) -> np.ndarray:
        """uint8 RGB (H, W, 3), with the mouth at rest; the same where nobody speaks in the clip."""
        ...

    def crop(self, number: int) -> np.ndarray:
        """uint8 RGB (S, S, 3), the face of :meth:`picture` as the network sees it."""
        ...


@dataclass(frozen=True)
class Action:
    """A stretch of pictures and how it goes on at its end."""

    name: str
    first: int
    last: int  # the one after its end
    loop: Literal["back_and_forth", "around", "once"] = "once"

    def steps(self) -> Iterator[int]:
        """Picture by picture; endless unless ``loop`` is ``"once"``."""
        while True:
            yield from range(self.first, self.last)
            if self.loop == "once":
                return
            if self.loop == "back_and_forth":  # no picture is shown twice in a row
                yield from range(self.last - 2, self.first, -1)


class Step(NamedTuple):
    """What a tick shows."""

    number: int  # of the picture
    is_cut: bool  # it does not follow the one before: the two are dissolved


class Walk:
    """Which picture each tick shows: idling, speaking where there is another stretch for it, actions in between."""

    def __init__(self, idle: Action, speaking: Action | None = None, actions: Sequence[Action] = ()) -> None:
        assert idle.last > idle.first, "an idle stretch has a picture"
        assert idle.loop != "once", "idling has no end"
        self._idle, self._speaking = idle, speaking
        self._actions = {action.name: action for action in actions}
        self._steps, self._where = idle.steps(), idle
        self.action = ""  # that is shown now

    @property
    def actions(self) -> list[str]:
        """Names."""
        return list(self._actions)

    def act(self, name: str) -> bool:
        """Show an action from the next tick on, speaking or not; False where there is none of that name."""
        if name not in self._actions:
            return False
        self.action = name
        return True

    def next(self, is_speaking: bool = False) -> Step:
        """The picture of the next tick."""
        wanted = self._speaking if is_speaking and self._speaking is not None else self._idle
        if self.action:
            wanted = self._actions[self.action]
        is_cut = wanted is not self._where
        if is_cut:
            self._steps, self._where = wanted.steps(), wanted
        number = next(self._steps, None)
        if number is None:  # an action has ended
            self.action = ""
            return self.next(is_speaking)
        return Step(number, is_cut)
