"""Where the nodes of a run meet: a fixed number of them, at the key-value store that the first one serves.

A rendezvous for torch's elastic agent. Unlike its own, it knows who is missing and says so, keeps every node's rank
over restarts, and does not start before all nodes run the same thing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

from anchor.errors import ConfigError
from launch.endpoint import LOCAL, OVER, POLL_S, AbsentError, connect, first_line, serve
from launch.failures import Failure
from launch.options import split_endpoint
from launch.roll import REFUSED, Roll
from launch.start import make_start

__all__ = ["EndedError", "Nodes"]

FAREWELL_S = 5.0  # how long the node that serves the store stays for the others to read their verdict
BEAT_S = 1.0  # how often a node says that it is alive
LOST_S = 30.0  # how long the first node waits for the next such word


class EndedError(RuntimeError):
    """Another node has ended the job while this one waited for it."""


class Nodes(RendezvousHandler):
    """``count`` nodes that start, restart and end together.

    Args:
        config_path: the run's configuration; its folder must be the same for all.
        endpoint: ``HOST:PORT`` where the first node serves; None for a single node.
        node_rank: this node's place; None takes the next free one.
        devices: ranks of this node.
        join_timeout_s: how long a node waits for the others.
        check_stop: called while waiting; raises where the user wants to stop.
    """

    def __init__(
        self,
        config_path: Path,
        *,
        count: int = 1,
        endpoint: str | None = None,
        node_rank: int | None = None,
        devices: int = 1,
        join_timeout_s: float = 300.0,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.config_path, self.count, self.endpoint = config_path, count, endpoint
        self.rank, self.devices = node_rank, devices
        self.join_timeout_s, self.check_stop = join_timeout_s, check_stop
        self.round = self._finished = -1
        self.host = socket.gethostname()
        self._start = ""
        self._store: Any = None
        self._roll: Any = None
        self.lost: Failure | None = None  # a node that went without a word, as the first one finds
        self._beaten = 0.0
        self._beats: dict[int, tuple[int, float]] = {}  # of each other node: how many, and when the last one was heard
        self._workers: Any = None  # the store of the present round's ranks, where this node serves it

    # What torch's agent asks.

    def get_backend(self) -> str:
        """The name of this kind of rendezvous."""
        return "anchor"

    def get_run_id(self) -> str:
        """What names this start on all its nodes, through all restarts of their ranks; the folder alone before that."""
        return self._start or self.config_path.parent.name

    @property
    def use_agent_store(self) -> bool:
        """Ranks meet at a store that the first node's agent serves: no port that another program could take first."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait until all nodes are here, for the first time or after a failure.

        Raises:
            ConfigError: the address cannot be, a node is missing, or runs something else.
            EndedError: another node has given up.
        """
        self.round += 1
        if self.round == 0:
            self._store = self._open()
            if self.count > 1:
                self._roll = Roll(self._store, self.config_path, self.count, self.devices)
                self.rank = self._roll.enter(self.rank)
        self._store.add(self._key("here"), 1)
        self._gather()
        address = LOCAL if self.count == 1 else split_endpoint(self.endpoint)[0]
        if self.rank == 0:
            self._workers = TCPStore(address, 0, is_master=True, wait_for_workers=False)
            self._store.set(self._key("port"), str(self._workers.port))
            self._store.compare_set("start", "", make_start(self.config_path.parent.name))
        self._wait_for([self._key("port"), "start"], "the first node's word")
        self._start = self._store.get("start").decode()
        port = int(self._store.get(self._key("port")))
        store: Store = PrefixStore(self._key("agent"), self._store)
        assert self.rank is not None
        return RendezvousInfo(store, self.rank, self.count, RendezvousStoreInfo(address, port))

    def num_nodes_waiting(self) -> int:
        """How many nodes have gone on to the next round: then this one must follow."""
        if self.count == 1 or self.is_closed():
            return 0
        try:
            return self._store.add(f"round/{self.round + 1}/here", 0)
        except RuntimeError:
            return 0

    def is_closed(self) -> bool:
        """Whether some node has ended the job, or the first one is gone, and the store with it."""
        if self.count == 1 or self._store is None:
            return False
        try:
            return self._store.check(["end"])
        except RuntimeError:
            return True

    def set_closed(self) -> None:
        """End the job for all nodes."""
        if self._store is not None:
            self._store.set("end", "yes")

    def shutdown(self) -> bool:
        """Leave; the node that serves the store lets the others read to the end first."""
        store, self._store, self._roll, self._workers = self._store, None, None, None  # no reference may keep the port
        if store is None or self.count == 1:
            return True
        try:
            store.set(OVER, "yes")
            gone = store.add("gone", 1)
            until = time.monotonic() + FAREWELL_S
            while self.rank == 0 and gone < store.add("joined", 0) and time.monotonic() < until:
                time.sleep(POLL_S)
                gone = store.add("gone", 0)
        except RuntimeError:  # the first node has gone, and its store with it
            return False
        return True

    # What our agent asks besides.

    def finish(self) -> bool:
        """Say that this node's ranks are done (once), and whether those of all nodes are."""
        if self.count == 1:
            return True
        try:
            if self._finished != self.round:
                self._store.add(self._key("done"), 1)
                self._finished = self.round
            return self._store.add(self._key("done"), 0) == self.count
        except RuntimeError:
            return False

    def exchange(self, failure: Failure | None, wait_s: float = 3.0) -> list[Failure]:
        """Give this node's first failure, and get the other nodes' as far as they come within ``wait_s``."""
        if self.count == 1:
            return []
        failure = self.lost or failure
        try:
            self._store.set(self._key(f"failure/{self.rank}"), failure.to_json() if failure else "")
            self.set_closed()
            others = [self._key(f"failure/{rank}") for rank in range(self.count) if rank != self.rank]
            until = time.monotonic() + wait_s
            while time.monotonic() < until and not self._store.check(others):
                time.sleep(POLL_S)
            said = [self._store.get(key) for key in others if self._store.check([key])]
        except RuntimeError as error:
            gone = f"The first node, which serves {self.endpoint}, is gone ({first_line(error)})."
            return [Failure(-1, f"the node at {self.endpoint}", 1, time.time(), gone, True)] if failure is None else []
        return [*([self.lost] if self.lost else []), *(Failure.from_json(text) for text in said if text)]

    def beat(self) -> None:
        """Say that this node lives; the first one sees whether the others do, and ends the job where one does not."""
        now = time.monotonic()
        if self.count == 1 or self.rank is None or now - self._beaten < BEAT_S:
            return
        self._beaten = now
        try:
            self._store.add(f"beat/{self.rank}", 1)
            for rank in range(1, self.count) if self.rank == 0 else ():
                beats, heard = self._store.add(f"beat/{rank}", 0), self._beats.get(rank, (0, now))
                self._beats[rank] = heard if heard[0] == beats else (beats, now)
                if beats and now - self._beats[rank][1] > LOST_S:
                    who = f"node {rank} ({self._roll.host_of(rank)})"
                    self.lost = Failure(-1, who, 1, time.time(), f"{who} was not heard of for {LOST_S:.0f} s.", True)
                    self.set_closed()
        except RuntimeError:  # the first node is gone; is_closed() says so
            return

    # How nodes find each other.

    def _key(self, name: str) -> str:
        return f"round/{self.round}/{name}"

    def _open(self) -> Any:
        if self.count == 1:
            self.rank = 0
            return TCPStore(LOCAL, 0, is_master=True, wait_for_workers=False)
        endpoint = str(self.endpoint)
        store = serve(endpoint, self.rank == 0, self.join_timeout_s) if self.rank in (None, 0) else None
        if store is not None:
            self.rank = 0
            return store
        who = f"node {'?' if self.rank is None else self.rank} ({self.host})"
        return connect(endpoint, who, self.join_timeout_s, self.check_stop)

    def _gather(self) -> None:
        if self.count == 1:
            return
        if self.round > 0:
            self._wait_until(lambda: self._store.add(self._key("here"), 0) >= self.count, self._who_is_missing)
            return
        self._wait_until(self._roll.is_complete, self._who_is_missing)

        def wait(is_so: Callable[[], bool]) -> None:
            self._wait_until(is_so, lambda: "a node has left while all looked at run_dir.")

        assert self.rank is not None
        if finding := self._roll.find_difference() or self._roll.find_other_folder(self.rank, wait):
            raise ConfigError(finding)

    def _wait_for(self, keys: list[str], what: str) -> None:
        self._wait_until(lambda: self._store.check(keys), lambda: f"{what} did not come to {self.endpoint}.")

    def _wait_until(self, is_so: Callable[[], bool], complain: Callable[[], str]) -> None:
        """Poll, so that a stop, another node's end and the time are noticed."""
        until = time.monotonic() + self.join_timeout_s
        try:
            while not is_so():
                self.check_stop()
                self.beat()
                if self.is_closed():
                    raise EndedError
                if self.round == 0 and self.count > 1 and self._store.check([REFUSED]):
                    raise ConfigError(self._store.get(REFUSED).decode())
                if time.monotonic() > until:
                    raise AbsentError(complain())
                time.sleep(POLL_S if self.count > 1 else 0.01)
        except RuntimeError as error:
            if isinstance(error, EndedError):
                raise
            raise ConfigError(
                f"the first node, which served launch.rendezvous={self.endpoint}, has gone while node {self.rank} "
                f"({self.host}) waited. Its own words say why."
            ) from None

    def _who_is_missing(self) -> str:
        here, missing = self._roll.describe()
        waited = f"{self.join_timeout_s:.0f} s"
        if self.round > 0:
            back = self._store.add(self._key("here"), 0)
            return f"{back} of {self.count} nodes came back to {self.endpoint} within {waited} of a failure ({here})."
        return (
            f"after {waited} these nodes have joined at {self.endpoint}, {here}. Node {missing} is missing: start the "
            "same command there, or raise launch.join_timeout_s."
        )
