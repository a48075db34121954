"""The roll of a run's nodes at their common store: who is here, what each of them runs, who is missing."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError
from launch.agreement import Card, describe_difference, make_card
from launch.endpoint import ANSWER_S, POLL_S

__all__ = ["REFUSED", "Roll"]

REFUSED = "refused"  # a sentence for all who wait
MARK = ".first-node"  # what the first node leaves in the run's folder for the others to see
SHOWN = 8  # nodes in a sentence


class Roll:
    """``count`` nodes of ``devices`` ranks each, as ``store`` holds them; ``config_path`` is this node's file."""

    def __init__(self, store: Any, config_path: Path, count: int, devices: int) -> None:
        self.store, self.config_path, self.count, self.devices = store, config_path, count, devices
        self.mark = config_path.parent / "logs" / MARK

    def enter(self, rank: int | None) -> int:
        """Put this node's card at its rank, or at the next one that is free; returns the rank.

        Raises:
            ConfigError: there is no such place, or another node has it.
        """
        self.store.add("joined", 1)  # before anybody can see the card: the first node stays until as many are gone
        host = socket.gethostname()
        rank = self.store.add("tickets", 1) if rank is None else rank
        if rank >= self.count:
            raise ConfigError(
                f"{host} came as node {rank}, and the run there has {self.count} nodes, from 0 to {self.count - 1}: "
                "accelerator.nodes or launch.node_rank is wrong, or the port of launch.rendezvous is another run's."
            )
        text = self.config_path.read_text(encoding="utf-8")
        token = uuid.uuid4().hex
        if rank == 0:
            self.mark.parent.mkdir(parents=True, exist_ok=True)
            self.mark.write_text(token, encoding="utf-8")
        self.store.set(f"config/{rank}", text)
        mine = json.dumps({"card": make_card(text).to_json(), "devices": self.devices, "token": token})
        if self.store.compare_set(f"node/{rank}", "", mine).decode() != mine:
            finding = (
                f"two nodes say that they are node {rank}: {self.host_of(rank)} and {host}. "
                "Give each its own launch.node_rank, or none at all to any."
            )
            self.store.set(REFUSED, finding)
            raise ConfigError(finding)
        return rank

    def is_complete(self) -> bool:
        """Whether all are here."""
        return self.store.check([f"node/{rank}" for rank in range(self.count)])

    def host_of(self, rank: int) -> str:
        """The machine of a node that is here."""
        return self._card(rank).host

    def describe(self) -> tuple[str, str]:
        """Who is here, as ``2 of 3: node 0 (a), node 1 (b)``, and the numbers of the missing."""
        here = [rank for rank in range(self.count) if self.store.check([f"node/{rank}"])]
        missing = [str(rank) for rank in range(self.count) if rank not in here]
        names = [f"node {rank} ({self.host_of(rank)})" for rank in here[:SHOWN]]
        return f"{len(here)} of {self.count}: {_list(names, len(here))}", _list(missing[:SHOWN], len(missing))

    def find_difference(self) -> str | None:
        """The first node that runs something else than node 0, as a sentence that names both."""
        first, devices = self._card(0), self._devices(0)
        for rank in range(1, self.count):
            other, who = self._card(rank), f"node {rank} ({self.host_of(rank)})"
            if self._devices(rank) != devices:
                return (
                    f"{who} has {self._devices(rank)} ranks and node 0 ({first.host}) has {devices}: every node must "
                    "have the same number. Set accelerator.devices."
                )
            if not first.agrees_with(other):
                configs = [self.store.get(f"config/{number}").decode() for number in (0, rank)]
                return f"{who} {describe_difference(first, other, *configs)}; node 0 is {first.host}."
        return None

    def find_other_folder(self, rank: int, wait: Callable[[Callable[[], bool]], None]) -> str | None:
        """The first node that does not see in the run's folder what node 0 wrote there, as a sentence.

        ``wait`` returns when its argument does so.
        """
        token = json.loads(self.store.get("node/0"))["token"]
        until = time.monotonic() + ANSWER_S  # a network file system may take a while
        while not (seen := self._reads(token)) and time.monotonic() < until:
            time.sleep(POLL_S)
        self.store.set(f"sees/{rank}", "yes" if seen else "no")
        answers = [f"sees/{number}" for number in range(self.count)]
        wait(lambda: self.store.check(answers))
        for number, answer in enumerate(answers):
            if self.store.get(answer) == b"no":
                return (
                    f"run_dir={self.config_path.parent} of node {number} ({self.host_of(number)}) is not the folder "
                    f"that node 0 ({self.host_of(0)}) writes to. Give a run_dir= on a file system that all nodes share."
                )
        return None

    def _reads(self, token: str) -> bool:
        try:
            return self.mark.read_text(encoding="utf-8") == token
        except OSError:
            return False

    def _card(self, rank: int) -> Card:
        return Card.from_json(json.loads(self.store.get(f"node/{rank}"))["card"])

    def _devices(self, rank: int) -> int:
        return json.loads(self.store.get(f"node/{rank}"))["devices"]


def _list(shown: list[str], count: int) -> str:
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")
