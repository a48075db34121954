"""Things kept up to a number of bytes, the longest unused dropped first."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar

__all__ = ["Recent"]

Thing = TypeVar("Thing")


class Recent(Generic[Thing]):
    """What was used last. Threads may share it, a fork may go on with it, and a pickle leaves it empty."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self._process = 0
        self._empty()

    def get(self, number: int) -> Thing | None:
        """The thing of this number, where it is still here."""
        with self._guard():
            found = self._things.get(number)
            if found is None:
                return None
            self._things.move_to_end(number)
            return found[0]

    def put(self, number: int, thing: Thing, num_bytes: int) -> None:
        """Keep ``thing``; what is larger than the limit is kept alone."""
        with self._guard():
            self._used += num_bytes - self._things.pop(number, (None, 0))[1]
            self._things[number] = (thing, num_bytes)
            while self._used > self.megabytes * 2**20 and len(self._things) > 1:
                self._used -= self._things.popitem(last=False)[1][1]

    def _guard(self) -> threading.Lock:
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), threading.Lock()  # a thread that is not here may have held it
        return self._lock

    def _empty(self) -> None:
        self._process, self._lock, self._used = os.getpid(), threading.Lock(), 0
        self._things: OrderedDict[int, tuple[Thing, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"megabytes": self.megabytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.megabytes = state["megabytes"]
        self._empty()
