"""How often something on a network is tried, how long apart, and when it is given up."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from anchor.shards.faults import Fault

__all__ = ["Retries"]

T = TypeVar("T")

ATTEMPTS = 5
BASE_S = 0.5  # the longest pause after the first try; it doubles with every further one
CAP_S = 8.0  # the longest pause of all
CONNECT_S = 10.0  # until a connection stands, its name resolved
STALL_S = 30.0  # without a byte
GRACE_S = 60.0  # a transfer may be slower than FLOOR_BYTES_PER_S for so long
FLOOR_BYTES_PER_S = 50_000  # slower than the slowest link that still feeds a training
TOTAL_S = 300.0  # all tries of something small; above ATTEMPTS * (CONNECT_S + STALL_S) and the pauses

_LOG = logging.getLogger("anchor.shards")
_DICE = random.SystemRandom()  # workers are seeded alike, and must not come back at the same moment


@dataclass(frozen=True)
class Retries:
    """The patience with a server. Times in seconds."""

    attempts: int = ATTEMPTS
    base_s: float = BASE_S
    cap_s: float = CAP_S
    connect_s: float = CONNECT_S
    stall_s: float = STALL_S
    grace_s: float = GRACE_S
    floor_bytes_per_s: float = FLOOR_BYTES_PER_S
    total_s: float = TOTAL_S

    def limit_s(self, size: int) -> float:
        """The longest that all tries for ``size`` bytes may take together."""
        return self.total_s + size / self.floor_bytes_per_s

    def run(self, where: str, deed: Callable[[float], T], size: int = 0) -> T:
        """What ``deed`` returns; it is called with the ``time.monotonic()`` at which everything ends.

        Raises:
            Fault: the last one, after it was tried as often as it deserves. It says how often, and in what time.
        """
        begin = time.monotonic()
        deadline = begin + self.limit_s(size)
        tries = 0
        alike: Counter[int] = Counter()  # faults by what they are worth
        while True:
            tries += 1
            try:
                return deed(deadline)
            except Fault as fault:
                alike[fault.tries] += 1
                longest = min(self.cap_s, self.base_s * 2 ** (tries - 1))
                pause = _DICE.uniform(longest / 2, longest)
                if tries >= self.attempts or alike[fault.tries] >= fault.tries or time.monotonic() + pause >= deadline:
                    often = "tried once" if tries == 1 else f"tried {tries} times in {time.monotonic() - begin:.0f} s"
                    fault.what += f" ({often})"
                    raise
                _LOG.warning("%s: %s (try %d); the next try is in %.1f s", where, fault.what, tries, pause)
                time.sleep(pause)
