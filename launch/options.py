"""The configuration's ``launch``: what it may say, and this node's place in it. Needs nothing that loads slowly."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from anchor.errors import ConfigError

__all__ = ["check_launch", "split_endpoint"]

NODE_RANKS = ("GROUP_RANK", "NODE_RANK", "SLURM_NODEID", "JOB_COMPLETION_INDEX")  # torchrun, by hand, SLURM, Kubernetes


def check_launch(options: Mapping[str, Any], nodes: int) -> dict[str, Any]:
    """The configuration's ``launch``, with this node's place in it.

    Raises:
        ConfigError: a value that cannot be.
    """
    checked: dict[str, Any] = {
        "rendezvous": None,
        "node_rank": None,
        "join_timeout_s": 300,
        "max_restarts": 0,
        "stop_timeout_s": 20,
    }
    checked.update(options)
    for key, least in (("join_timeout_s", 1), ("max_restarts", 0), ("stop_timeout_s", 1)):
        value, kinds = checked[key], int if key == "max_restarts" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < 1e6:
            what = "whole number" if kinds is int else "number"
            raise ConfigError(f"launch.{key}={value} cannot be. Give a {what} from {least} on.")
    rank, source = checked["node_rank"], "launch.node_rank"
    if nodes == 1:
        checked["rendezvous"] = checked["node_rank"] = None
        return checked
    checked["rendezvous"] = checked["rendezvous"] or _slurm_endpoint()
    if checked["rendezvous"] is None:
        raise ConfigError(
            f"accelerator.nodes={nodes} needs launch.rendezvous=HOST:PORT, the first node and a free port of it, and "
            "the same command on every node."
        )
    split_endpoint(checked["rendezvous"])
    if rank is None:
        source = next((name for name in NODE_RANKS if os.environ.get(name)), source)
        rank = os.environ.get(source)
    if rank is not None:
        if not str(rank).isdigit() or not int(rank) < nodes:
            raise ConfigError(f"{source}={rank} is no node of {nodes}. Number them from 0 to {nodes - 1}.")
        rank = int(rank)
    return {**checked, "node_rank": rank}


def _slurm_endpoint() -> str | None:
    """The first host of this SLURM job, with a port that another job on it hardly has; None outside of SLURM."""
    hosts, number = os.environ.get("SLURM_JOB_NODELIST", ""), os.environ.get("SLURM_JOB_ID", "")
    first = re.match(r"(?:[^,\[\]]|\[[^\[\]]+\])+", hosts)  # of a list such as row[1-2]mlu[07-09,12],other
    if not first or not number.isdigit():
        return None
    host = re.sub(r"\[([^],-]+)[^]]*\]", r"\1", first[0])
    return f"{host}:{20000 + int(number) % 10000}"


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
