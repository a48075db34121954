"""What ranks print: each line to a log of its rank and to the terminal, where other ranks than 0 are named."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import IO, BinaryIO, TextIO

from anchor.signals import tell

__all__ = ["RankOutput", "log_path"]

CHUNK_BYTES = 65536
ERASE = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")  # how a progress line renews itself


def log_path(run_dir: Path, rank: int) -> Path:
    """Where rank ``rank`` is logged."""
    return run_dir / "logs" / f"rank-{rank}.log"


class RankOutput:
    r"""Carry one process's stdout and stderr to its log and to ours, until both are closed.

    Rank 0 reaches a terminal byte for byte, for its progress line; of the others, and where it is no terminal, whole
    lines do, of the others with their rank in front. A line that renews itself (``\r``) is logged as it ended. A log
    or a terminal that cannot be written any more is given up, and the run is not.
    """

    def __init__(self, rank: int, log: Path, heading: str) -> None:
        self.rank = rank
        self._lock = threading.Lock()
        self._log: BinaryIO | None = None
        self._threads: list[threading.Thread] = []
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = log.open("ab", buffering=0)
            self._log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {heading}\n".encode())
        except OSError as error:
            tell(f"anchor train: {log} cannot be written ({error.strerror}); the run goes on.", is_trouble=True)

    def follow(self, source: IO[bytes], sink: TextIO) -> None:
        """Begin to carry ``source``, a pipe, to ``sink`` and the log."""
        thread = threading.Thread(target=self._carry, args=(source, sink), daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self, timeout_s: float = 2.0) -> None:
        """Wait for the last words; a process that has inherited a pipe and lives on is not waited for longer."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            if self._log is not None:
                self._log.close()
            self._log = None

    def _carry(self, source: IO[bytes], sink: TextIO) -> None:
        held, is_raw = b"", self.rank == 0 and sink.isatty()
        while chunk := os.read(source.fileno(), CHUNK_BYTES):
            if is_raw:
                show_bytes(sink, chunk)
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                self._line(line, None if is_raw else sink)
            held = b"\r" + held.rpartition(b"\r")[2] if b"\r" in held else held
        if held.strip(b"\r"):
            self._line(held, None if is_raw else sink)
        source.close()

    def _line(self, line: bytes, sink: TextIO | None) -> None:
        text = ERASE.sub(b"", line.rstrip(b"\r").rpartition(b"\r")[2]) + b"\n"
        self._write_log(text)
        if sink is not None:
            show_bytes(sink, (f"[rank {self.rank}] ".encode() if self.rank else b"") + text)

    def _write_log(self, line: bytes) -> None:
        with self._lock:
            try:
                if self._log is not None:
                    self._log.write(line)
            except OSError:
                self._log = None


_terminal = threading.Lock()
_is_midline = False  # a progress line stands on the terminal


def show_bytes(sink: TextIO, data: bytes) -> None:
    """Print ``data``; whole lines replace a progress line that stands there, which renews itself below them."""
    global _is_midline
    with _terminal:
        try:
            sink.flush()
            if _is_midline and sink.isatty() and not data.startswith((b"\r", b"\n")) and data.endswith(b"\n"):
                data = b"\r\x1b[K" + data
            sink.buffer.write(data)
            sink.buffer.flush()
        except (OSError, ValueError):  # nobody reads any more
            return
        _is_midline = not data.endswith(b"\n")
