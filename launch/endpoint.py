"""``HOST:PORT`` where the first node of a run serves a key-value store and the others find it."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import TCPStore

from anchor.errors import ConfigError
from launch.options import split_endpoint

__all__ = ["LOCAL", "OVER", "AbsentError", "connect", "first_line", "serve"]

POLL_S = 0.2
ANSWER_S = 10.0  # how long a store that accepts a connection may take to answer
LOCAL = "127.0.0.1"
OVER = "over"  # the first to leave sets it


class AbsentError(ConfigError):
    """A node did not come in time: starting again may help, which a scheduler must be able to tell from bad input."""


def serve(endpoint: str, must: bool, timeout_s: float) -> TCPStore | None:
    """Serve at ``endpoint``; None where another machine, or another node on this one, is the one to do it.

    Raises:
        ConfigError: this node ``must`` serve, and the port is in use, or forbidden.
    """
    host, port = split_endpoint(endpoint)
    if not must and not _is_here(host):
        return None
    if _is_free(port):
        try:
            return TCPStore(host, port, is_master=True, wait_for_workers=False, timeout=_patience(timeout_s))
        except RuntimeError:  # somebody was faster
            pass
    if must:
        raise ConfigError(
            f"launch.rendezvous={endpoint}: port {port} of this machine is in use. Give another port, the same to "
            "every node."
        )
    return None


def connect(endpoint: str, who: str, timeout_s: float, check_stop: Callable[[], None]) -> TCPStore:
    """The store at ``endpoint``, as soon as it is there.

    Raises:
        ConfigError: ``who`` found nobody there in time, or something else.
    """
    host, port = split_endpoint(endpoint)
    until = time.monotonic() + timeout_s
    while True:
        check_stop()
        try:
            with socket.create_connection((host, port), timeout=2.0):
                pass
        except OSError as error:
            reason = str(error)
        else:
            store = _greet(host, port)
            if isinstance(store, str):
                raise ConfigError(
                    f"launch.rendezvous={endpoint}: what listens there is no first node of a run ({store}). "
                    "The port is in use by another program; give another, the same to every node."
                )
            if not store.check([OVER]):
                store.set_timeout(_patience(timeout_s))
                return store
            reason = "a run there is over, and the next has not begun"  # the last job of a sweep
            del store
        if time.monotonic() > until:
            raise AbsentError(
                f"{who} found nobody at launch.rendezvous={endpoint} for {timeout_s:.0f} s ({reason}). Start the "
                "first node there, or see whether a firewall stands between; launch.join_timeout_s= waits longer."
            )
        time.sleep(POLL_S)


def _greet(host: str, port: int) -> TCPStore | str:
    """The store at ``host``, or what is wrong with it; its own timeouts do not end a silence."""
    answer: list[TCPStore | str] = []

    def ask() -> None:
        try:
            timeout = timedelta(seconds=ANSWER_S)
            store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timeout)
            store.add("met", 1)
            answer.append(store)
        except RuntimeError as error:
            answer.append(first_line(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return answer[0] if answer else f"it gave no answer for {ANSWER_S:.0f} s"


def first_line(error: BaseException) -> str:
    """What C++ says before it goes on to its stack."""
    return str(error).strip().partition("\n")[0][:160]


def _patience(timeout_s: float) -> timedelta:
    return timedelta(seconds=timeout_s + ANSWER_S)


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
                    f"launch.rendezvous: {os.strerror(error.errno)} on port {port}. Use one above 1023."
                ) from None
    return True
