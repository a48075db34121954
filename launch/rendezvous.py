"""Where the nodes of a run meet: a fixed number of them, at the key-value store that the first one serves.

A rendezvous for torch's elastic agent. Unlike its own, it knows who is missing and says so, keeps every node's rank
over restarts, and does not start before all nodes run the same thing.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

from anchor.errors import ConfigError
from launch.agreement import Card, describe_difference, make_card
from launch.failures import Failure

__all__ = ["EndedError", "Nodes"]

POLL_S = 0.2
ANSWER_S = 10.0  # how long a store that accepts a connection may take to answer
FAREWELL_S = 5.0  # how long the node that serves the store stays for the others to read their verdict
LOCAL = "127.0.0.1"


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
        self._store: Any = None
        self._workers: Any = None  # the store of the present round's ranks, where this node serves it

    # What torch's agent asks.

    def get_backend(self) -> str:
        """The name of this kind of rendezvous."""
        return "anchor"

    def get_run_id(self) -> str:
        """The run's folder names it."""
        return self.config_path.parent.name

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
            self._take_rank()
        self._store.add(self._key("here"), 1)
        self._gather()
        address = LOCAL if self.count == 1 else self._split()[0]
        if self.rank == 0:
            self._workers = TCPStore(address, 0, is_master=True, wait_for_workers=False)
            self._store.set(self._key("port"), str(self._workers.port))
        self._wait_for([self._key("port")], "the first node's word")
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
        if self._store is None or self.count == 1:
            return True
        try:
            gone = self._store.add("gone", 1)
            until = time.monotonic() + FAREWELL_S
            while self.rank == 0 and gone < self._store.add("joined", 0) and time.monotonic() < until:
                time.sleep(POLL_S)
                gone = self._store.add("gone", 0)
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
        try:
            self._store.set(self._key(f"failure/{self.rank}"), failure.to_json() if failure else "")
            self.set_closed()
            others = [self._key(f"failure/{rank}") for rank in range(self.count) if rank != self.rank]
            until = time.monotonic() + wait_s
            while time.monotonic() < until and not self._store.check(others):
                time.sleep(POLL_S)
            said = [self._store.get(key) for key in others if self._store.check([key])]
        except RuntimeError as error:
            gone = f"The first node, which serves {self.endpoint}, is gone ({_first_line(error)})."
            return [Failure(-1, f"the node at {self.endpoint}", 1, time.time(), gone)] if failure is None else []
        return [Failure.from_json(text) for text in said if text]

    # How nodes find each other.

    def _key(self, name: str) -> str:
        return f"round/{self.round}/{name}"

    def _split(self) -> tuple[str, int]:
        return split_endpoint(self.endpoint)

    def _open(self) -> TCPStore:
        if self.count == 1:
            self.rank = 0
            return TCPStore(LOCAL, 0, is_master=True, wait_for_workers=False)
        host, port = self._split()
        if self.rank == 0 or (self.rank is None and _is_here(host)):
            if _is_free(port):
                self.rank = 0
                return TCPStore(host, port, is_master=True, wait_for_workers=False, timeout=self._patience())
            if self.rank == 0:
                raise ConfigError(
                    f"launch.rendezvous={self.endpoint}: port {port} of this machine is in use. Give another port, "
                    "the same to every node."
                )
        return self._connect(host, port)

    def _connect(self, host: str, port: int) -> TCPStore:
        until = time.monotonic() + self.join_timeout_s
        while True:
            self.check_stop()
            try:
                with socket.create_connection((host, port), timeout=2.0):
                    break
            except OSError as error:
                if time.monotonic() > until:
                    raise ConfigError(
                        f"node {'?' if self.rank is None else self.rank} ({self.host}) found nobody at "
                        f"launch.rendezvous={self.endpoint} for {self.join_timeout_s:.0f} s ({error}). Start the first "
                        "node there, or see whether a firewall stands between; launch.join_timeout_s waits longer."
                    ) from None
                time.sleep(POLL_S)
        try:
            store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=ANSWER_S))
            store.add("met", 1)
        except RuntimeError as error:
            raise ConfigError(
                f"launch.rendezvous={self.endpoint}: what listens there is no first node of a run "
                f"({_first_line(error)}). The port is in use by another program; give another, the same to every node."
            ) from None
        store.set_timeout(self._patience())
        return store

    def _patience(self) -> timedelta:
        return timedelta(seconds=self.join_timeout_s + ANSWER_S)

    def _take_rank(self) -> None:
        """Put this node's card on the table, at its rank or at the next one that is free."""
        if self.count == 1:
            return
        if self.rank is None:
            self.rank = self._store.add("tickets", 1)
        if self.rank >= self.count:
            raise ConfigError(
                f"node {self.rank} ({self.host}) came to {self.endpoint}, and the run there has {self.count} nodes, "
                f"from 0 to {self.count - 1}: launch.node_rank or accelerator.nodes is wrong, or another run is there."
            )
        text = self.config_path.read_text(encoding="utf-8")
        token = uuid.uuid4().hex
        card = {"card": make_card(text).to_json(), "devices": self.devices, "token": token}
        if self.rank == 0:
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            self._mark.write_text(token, encoding="utf-8")
        self._store.set(f"config/{self.rank}", text)
        mine = json.dumps(card)
        if self._store.compare_set(f"node/{self.rank}", "", mine).decode() != mine:
            taken = json.loads(self._store.get(f"node/{self.rank}"))
            raise ConfigError(
                f"two nodes say that they are node {self.rank}: {Card.from_json(taken['card']).host} and {self.host}. "
                "Give each its own launch.node_rank, or none at all to any."
            )
        self._store.add("joined", 1)

    @property
    def _mark(self) -> Path:
        return self.config_path.parent / "logs" / ".first-node"

    def _gather(self) -> None:
        if self.count == 1:
            return
        if self.round > 0:
            self._wait_until(lambda: self._store.add(self._key("here"), 0) >= self.count, self._who_is_missing)
            return
        names = [f"node/{rank}" for rank in range(self.count)]
        self._wait_until(lambda: self._store.check(names), self._who_is_missing)
        cards = [json.loads(self._store.get(name)) for name in names]
        finding = self._find_difference(cards) or self._find_other_folder(cards)
        if finding:
            raise ConfigError(finding)

    def _find_difference(self, cards: list[dict[str, Any]]) -> str | None:
        first = Card.from_json(cards[0]["card"])
        for rank, card in enumerate(cards[1:], start=1):
            other = Card.from_json(card["card"])
            who = f"node {rank} ({other.host})"
            if card["devices"] != cards[0]["devices"]:
                return (
                    f"{who} has {card['devices']} ranks and node 0 ({first.host}) {cards[0]['devices']}: "
                    "every node must have the same number. Set accelerator.devices."
                )
            same = (first.config, first.code, first.versions) == (other.config, other.code, other.versions)
            if not same:
                configs = [self._store.get(f"config/{number}").decode() for number in (0, rank)]
                return f"{who} {describe_difference(first, other, *configs)}; node 0 is {first.host}."
        return None

    def _find_other_folder(self, cards: list[dict[str, Any]]) -> str | None:
        """Whether each node sees in the run's folder what the first one wrote there."""
        seen, until = False, time.monotonic() + ANSWER_S  # a network file system may take a while
        while not seen and time.monotonic() < until:
            self.check_stop()
            try:
                seen = self._mark.read_text(encoding="utf-8") == cards[0]["token"]
            except OSError:
                seen = False
            if not seen:
                time.sleep(POLL_S)
        self._store.set(f"sees/{self.rank}", "yes" if seen else "no")
        answers = [f"sees/{rank}" for rank in range(self.count)]
        self._wait_until(lambda: self._store.check(answers), lambda: "a node has left while all looked at run_dir.")
        for rank, card in enumerate(cards):
            if self._store.get(f"sees/{rank}") == b"no":
                hosts = [Card.from_json(one["card"]).host for one in (card, cards[0])]
                return (
                    f"run_dir={self.config_path.parent} of node {rank} ({hosts[0]}) is not the folder that node 0 "
                    f"({hosts[1]}) writes to. Give a run_dir= on a file system that all nodes share."
                )
        return None

    def _wait_for(self, keys: list[str], what: str) -> None:
        self._wait_until(lambda: self._store.check(keys), lambda: f"{what} did not come to {self.endpoint}.")

    def _wait_until(self, is_so: Callable[[], bool], complain: Callable[[], str]) -> None:
        """Poll, so that a stop, another node's end and the time are noticed."""
        until = time.monotonic() + self.join_timeout_s
        try:
            while not is_so():
                self.check_stop()
                if self.is_closed():
                    raise EndedError
                if time.monotonic() > until:
                    raise ConfigError(complain())
                time.sleep(POLL_S if self.count > 1 else 0.01)
        except RuntimeError as error:
            if isinstance(error, EndedError):
                raise
            raise ConfigError(
                f"the first node, which served launch.rendezvous={self.endpoint}, has gone while node {self.rank} "
                f"({self.host}) waited. Its own words say why."
            ) from None

    def _who_is_missing(self) -> str:
        names = {rank: f"node/{rank}" for rank in range(self.count)}
        here = [rank for rank, name in names.items() if self._store.check([name])]
        hosts = {rank: Card.from_json(json.loads(self._store.get(names[rank]))["card"]).host for rank in here}
        came = ", ".join(f"node {rank} ({host})" for rank, host in hosts.items())
        if self.round > 0:
            back = self._store.add(self._key("here"), 0)
            return (
                f"{back} of {self.count} nodes came back to {self.endpoint} within {self.join_timeout_s:.0f} s after a "
                f"failure; there were {came}."
            )
        missing = ", ".join(str(rank) for rank in names if rank not in here)
        return (
            f"after {self.join_timeout_s:.0f} s {len(here)} of {self.count} nodes have joined at {self.endpoint}: "
            f"{came}. Node {missing} is missing: start the same command there, or raise launch.join_timeout_s."
        )


def split_endpoint(endpoint: str | None) -> tuple[str, int]:
    """``HOST:PORT`` as its two parts.

    Raises:
        ConfigError: it is not of that form.
    """
    host, _, port = str(endpoint or "").strip().rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"launch.rendezvous={endpoint} is no HOST:PORT. Name the first node and a free port of it, "
            "such as node0:29400, the same to every node."
        )
    return host.strip("[]"), int(port)


def _is_here(host: str) -> bool:
    """Whether ``host`` is an address of this machine."""
    try:
        addresses = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return host == socket.gethostname()
    for family, _, _, _, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
            else:
                return True
    return False


def _is_free(port: int) -> bool:
    """Whether this machine can serve at ``port``."""
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if error.errno in (errno.EACCES, errno.EPERM):
                raise ConfigError(
                    f"launch.rendezvous: {os.strerror(error.errno)} on port {port}; use one above 1023."
                ) from None
    return True


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:160]
