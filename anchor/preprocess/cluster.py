"""A Ray cluster for `anchor preprocess`: the one that is there, or one of this machine for as long as it is needed."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anchor.errors import AnchorError, ConfigError, ShardError
from anchor.preprocess import ray_host

__all__ = ["check_nodes", "import_ray", "open_cluster"]

STORE_BYTES = 100 * 2**20  # of Ray's object store: results are small, and Ray takes no less than 75 MB
ANSWER_S = 120.0  # s for a node to import what it needs and to answer
SEEN_S = 10.0  # s until a file of one machine is seen by another: network file systems cache their folders
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
SWITCHES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def import_ray() -> Any:
    """The package, which sends no measurements of its use.

    Raises:
        ConfigError: it is not installed.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "executor=ray needs a package that is not installed. Run `pip install 'virtual-anchor[ray]'`, or use "
            "executor=local."
        ) from error
    return ray


@contextlib.contextmanager
def open_cluster(workers: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Ray, connected: to the cluster of ``RAY_ADDRESS``, to one that runs on this machine, or to one made for this.

    Only the last has the size of ``workers``, and is ended afterwards with all its processes and files. The function
    beside it raises what a signal raised in a place where Ray let it vanish.

    Raises:
        ConfigError: Ray is not installed, or ``RAY_ADDRESS`` leads to no cluster that can be used.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray, lambda: None
        return
    with _signals_as_they_were() as (restore, check), contextlib.ExitStack() as leaving:
        leaving.callback(ray.shutdown)
        if not _join(ray):
            address = leaving.enter_context(_cluster_here(workers))
            leaving.callback(ray.shutdown)  # before the cluster ends: Ray ends a process that loses its cluster
            with _signals_held():
                ray.init(address=address, **QUIET)
                restore()
        restore()
        _silence()
        yield ray, check


def check_nodes(ray: Any, folder: Path, check: Callable[[], None], environment: Mapping[str, str]) -> int:
    """Let every node read and write in ``folder`` and run ``check``; returns how many nodes there are.

    Raises:
        ShardError: a node cannot see or write ``folder``.
        ConfigError: a node does not answer, lacks this package, or ``check`` raised an AnchorError there.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    asked = folder / f"probe-{uuid.uuid4().hex}"
    asked.write_text(asked.name, encoding="ascii")
    probe = ray.remote(num_cpus=0, max_retries=0)(_probe)
    try:
        answers = {}
        for node in nodes:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answer = asked.with_name(f"{asked.name}-{node['NodeID']}")
            answers[probe.options(scheduling_strategy=strategy).remote(asked, answer, check, dict(environment))] = (
                node["NodeManagerAddress"], answer,
            )  # fmt: skip
        ray.wait(list(answers), num_returns=len(answers), timeout=ANSWER_S)
        for reference, (address, answer) in answers.items():
            said = _ask(ray, reference)
            if said is None and not _holds(answer, asked.name):
                said = ShardError(f"{answer} was written there and is not seen here: {folder} is another folder there.")
            if said is not None:
                kind = ShardError if isinstance(said, ShardError) else ConfigError
                raise kind(f"Node {address} cannot take part: {said}") from said
    finally:
        for path in folder.glob(f"{asked.name}*"):
            with contextlib.suppress(OSError):
                path.unlink()
    return len(nodes)


def _join(ray: Any) -> bool:
    """Connect to a cluster that is there; False where none is."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise ConfigError(
            f"RAY_ADDRESS={address} is a client's address, and the videos must be seen from here. Start the command "
            "on a machine of the cluster, with RAY_ADDRESS=auto or HOST:PORT."
        )
    if address == "local":
        return False
    try:
        ray.init(address="auto", **QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if not address and isinstance(error, ConnectionError):
            return False
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(
            f"RAY_ADDRESS={address or 'auto'}: this cluster cannot be used ({reason}). Check the address, and that "
            "Ray and Python are of the same version everywhere; RAY_ADDRESS=local makes one on this machine."
        ) from error
    return True


@contextlib.contextmanager
def _cluster_here(workers: int) -> Iterator[str]:
    """A cluster of this machine in a session of its own, ended with all its processes and files; gives its address."""
    folder = Path(tempfile.mkdtemp(prefix="anchor-ray-", dir=_short_folder()))
    given = {"num_cpus": workers, "object_store_memory": STORE_BYTES, "_temp_dir": str(folder)}
    host: subprocess.Popen[str] | None = None
    try:
        host = subprocess.Popen(
            [sys.executable, ray_host.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.write(json.dumps({**given, "logging_level": logging.CRITICAL}) + "\n")
        host.stdin.flush()
        said = json.loads(host.stdout.readline() or '{"error": "its process ended"}')
        if "error" in said:
            reason = said["error"].rstrip(".")
            raise ConfigError(f"Ray did not start on this machine ({reason}). Try again, or use executor=local.")
        _take_token(said["auth_mode"])
        yield said["address"]
    finally:
        if host is not None:
            ray_host.end_session(host.pid)
            host.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _take_token(mode: str) -> None:
    """A new cluster asks for a token, which lies in the home; Ray sends it to a given address only when told to."""
    if not mode or os.environ.get("RAY_AUTH_MODE") == mode:
        return
    os.environ["RAY_AUTH_MODE"] = mode
    core: Any = importlib.import_module("ray._raylet")
    if hasattr(core, "AuthenticationTokenLoader"):
        core.Config.initialize("")  # read when it was imported
        core.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait: half a connection cannot be undone, and Ray has handlers of its own meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _probe(asked: Path, answer: Path, check: Callable[[], None], environment: dict[str, str]) -> AnchorError | None:
    """On a node: what is wrong there."""
    os.environ.update(environment)
    host = socket.gethostname()
    if not _holds(asked, asked.name):
        return ShardError(
            f"{host} does not see {asked.parent}, where finished clips are kept. Give an out= in a folder that all "
            "nodes share."
        )
    try:
        answer.write_text(asked.name, encoding="ascii")
    except OSError as error:
        return ShardError(f"{host} may not write in {asked.parent} ({error.strerror}). Check its rights there.")
    try:
        check()
    except AnchorError as error:
        return type(error)(f"on {host} {error}")
    return None


def _ask(ray: Any, reference: Any) -> Exception | None:
    try:
        return ray.get(reference, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        return ConfigError(f"it did not answer within {ANSWER_S:.0f} s. See `ray status`.")
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        return ConfigError(f"{last}. Is the same version of virtual-anchor installed there?")


def _holds(path: Path, text: str) -> bool:
    """Whether the file appears within ``SEEN_S`` and holds ``text``."""
    deadline = time.monotonic() + SEEN_S
    while True:
        with contextlib.suppress(OSError):
            os.listdir(path.parent)  # makes a network file system look again
            if path.read_text(encoding="ascii") == text:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def _silence() -> None:
    """Ray tells the terminal of every worker that died, whatever log_to_driver says; here the report does that."""
    from ray._private import worker

    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False


@contextlib.contextmanager
def _signals_as_they_were() -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Ctrl-C and SIGTERM end the program as they would without Ray.

    Ray may put handlers of its own in their place, until the first function given is called; and where a signal
    arrives while it waits, it raises KeyboardInterrupt, whatever the handler raised. The second function raises what
    a handler raised, if that was lost.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    raised: list[BaseException] = []

    def restore(wrapped: bool = True) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, noting(handler) if wrapped and callable(handler) else handler)

    def noting(handler: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
        def note(number: int, frame: Any) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                raised.append(error)
                raise

        return note

    def check() -> None:
        if raised:
            raise raised[0]

    try:
        yield restore, check
    except KeyboardInterrupt as stop:
        if raised and stop is not raised[0]:
            raise raised[0] from None
        raise
    finally:
        restore(wrapped=False)


def _short_folder() -> str:
    """A place for sockets, whose paths may have 107 bytes."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) < 25 else "/tmp"  # noqa: S108
