"""Inputs that nobody would write, and eyes on what a parser does with them.

A parser may give a right answer or raise an error of ours. It may not raise anything else, take more than ``HANG_S``
or more than 4 GB, start a process, look a name up for a pickle, reach an address, or write outside its folder.
Libraries of packages may be loaded late, and a server beside it hears from its own drawing process.
``ANCHOR_FUZZ`` says how many inputs each parser gets (`make fuzz`: 10000); without it a few, always the same.
"""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from anchor.errors import AnchorError

COUNT = int(os.environ.get("ANCHOR_FUZZ", "0"))
FEW = 12
HANG_S = 20  # of a process that is awake
HOSTILE = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("-inf"), "", "x", "0",
    "../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "\x1b[2J",
    "${oc.env:HOME}", "é" * 300, "x" * 70_000, [], {}, [[]],
    [1, 2, 3, 4], ["a"] * 50, {"a": {"a": {"a": []}}}, {"_target_": "os.system"}, [{}] * 3, 1e-320,
]  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NEVER = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class", "os.fork", "ctypes.dlopen")
CHANGES = {"os.remove": 0, "os.rename": 1, "os.rmdir": 0, "os.mkdir": 0, "shutil.rmtree": 0, "os.symlink": 1}


def fuzzed(share=1.0):
    """Settings of hypothesis: all inputs of `make fuzz`, or ``share`` of them where each is slow."""
    return settings(
        max_examples=max(1, round((COUNT or FEW) * share)), deadline=None, database=None, derandomize=not COUNT,
        suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip


def mutated(*seeds):
    """One of ``seeds``, bytes, with some edits; or any bytes at all."""
    edit = st.tuples(st.integers(0, 6), st.integers(0, 2**32), st.integers(0, 2**32), st.binary(min_size=1, max_size=9))
    return st.one_of(
        st.tuples(st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=6)).map(lambda pair: _edit(*pair)),
        st.tuples(st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=2)).map(lambda pair: _edit(*pair)),
        st.binary(max_size=200),
    )


def _edit(seed, edits):
    data = bytearray(seed)
    for kind, place, other, piece in edits:
        place %= len(data) + 1
        other %= len(data) + 1
        if kind == 0:
            data[place : place + len(piece)] = piece
        elif kind == 1:
            data[place:place] = piece
        elif kind == 2:
            del data[place : place + 1 + other % 64]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            data[place : place + 1] = bytes([piece[0] ^ (data[place] if place < len(data) else 0)])
        elif kind == 5:
            data[place:place] = data[other : other + 200]
        else:
            data[place : place + 4] = (b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x80")[other % 4]
    return bytes(data)


def changed(tree):
    """The JSON ``tree`` with some of its values replaced by hostile ones, or left out."""
    pick = st.tuples(st.integers(0, 2**32), st.integers(-2, len(HOSTILE) - 1))
    return st.lists(pick, min_size=1, max_size=4).map(lambda picks: _change(tree, picks))


def _change(tree, picks):
    import copy

    tree = copy.deepcopy(tree)
    for number, which in picks:
        places = list(_places(tree))
        if not places:
            break
        holder, key = places[number % len(places)]
        if which < 0:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(HOSTILE[which])
    return tree


def _places(tree):
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)


class Watch:
    """Counts inputs, and looks at what is done with each; ``folder`` is where a parser may write."""

    def __init__(self, name, folder=None):
        self.name, self.folder = name, folder
        self.inputs = self.refused = self.ticks = 0
        self.began, self.seen = time.monotonic(), []

    def __call__(self, parse, *values, errors=AnchorError):
        """What ``parse(*values)`` gives; None where it raises one of ``errors``, whose sentence must be one."""
        self.inputs += 1
        self.seen.clear()
        self.ticks = 0
        _watching.append(self)
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
        try:
            return parse(*values)
        except errors as error:
            self.refused += 1
            said = str(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _watching.pop()
            assert not self.seen, self.seen
        assert said.strip(), "an error without a word"
        assert len(said) < 5000
        assert "Traceback" not in said
        return None

    def report(self):
        if COUNT:
            seconds = time.monotonic() - self.began
            print(
                f"\nfuzz {self.name:<22}{self.inputs:>7} inputs{seconds:>7.0f} s   {self.refused} refused, "
                f"{self.inputs - self.refused} answered",
                file=sys.__stderr__,
                flush=True,
            )


@contextlib.contextmanager
def watching(name, folder=None):
    """A :class:`Watch`; memory is bounded while it lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, hard))
    before = signal.signal(signal.SIGALRM, _tick)
    watch = Watch(name, folder)
    try:
        yield watch
    finally:
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        watch.report()


def _tick(number, frame):
    """Once a second; only once for all the seconds in which the process was suspended."""
    if _watching:
        _watching[-1].ticks += 1
        if _watching[-1].ticks >= HANG_S:
            raise TimeoutError(f"nothing came of it within {HANG_S} s")


_watching = []


def _audit(event, values):
    if not _watching:
        return
    watch = _watching[-1]
    if event in NEVER and not _is_ours(event, values):
        watch.seen.append((event, str(values)[:200]))
    elif event == "open" and values[0] is not None and not isinstance(values[0], int):
        mode, flags = values[1], values[2] or 0
        if flags & WRITES or (isinstance(mode, str) and set(mode) & set("wax+")):
            _look(watch, event, values[0])
    elif event in CHANGES:
        _look(watch, event, values[CHANGES[event]])
    elif event == "socket.connect" and "127.0.0.1" not in str(values[1]):
        watch.seen.append((event, str(values[1])))


def _is_ours(event, values):
    """Whether it is a library of an installed package, or an object that comes through a pipe to a child of ours."""
    if event == "ctypes.dlopen":
        return any(str(values[0]).startswith(folder) for folder in sys.path if folder.endswith("site-packages"))
    frame = sys._getframe() if event == "pickle.find_class" else None
    while frame is not None and frame.f_code is not Connection.recv.__code__:
        frame = frame.f_back
    return frame is not None


def _look(watch, event, path):
    place = Path(os.fsdecode(path)).absolute()
    allowed = [watch.folder, "/dev"] if watch.folder else ["/dev"]
    if not any(Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)) for folder in allowed):
        watch.seen.append((event, str(place)))


sys.addaudithook(_audit)
tempfile.gettempdir()  # tries its folder once
