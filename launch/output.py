"""What ranks print: each line to a log of its rank and to the terminal, where other ranks than 0 are named."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import IO, BinaryIO, TextIO

__all__ = ["RankOutput", "log_path"]

CHUNK_BYTES = 65536
ERASE = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")  # how a progress line renews itself


def log_path(run_dir: Path, rank: int) -> Path:
    """Where rank ``rank`` is logged."""
    return run_dir / "logs" / f"rank-{rank}.log"


class RankOutput:
    r"""Carry one process's stdout and stderr to its log and to ours, until both are closed.

    Rank 0 reaches the terminal byte for byte, for its progress line; of the others whole lines do, with their rank in
    front. A line that renews itself (``\r``) is logged as it ended. A log or a terminal that cannot be written any
    more is given up, and the run is not.
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
            print(f"anchor train: {log} cannot be written ({error.strerror}); the run goes on.", file=sys.stderr)

    def follow(self, source: IO[bytes], sink: TextIO) -> None:
        """Begin to carry ``source``, a pipe, to ``sink`` and the log."""
        thread = threading.Thread(target=self._carry, args=(source, sink), daemon=True)
        thread.start()
        self._threads.append(thread)

    def note(self, text: str) -> None:
        """Put ``text`` into the log alone."""
        self._write_log(text.rstrip("\n").encode() + b"\n")

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
        held = b""
        while chunk := os.read(source.fileno(), CHUNK_BYTES):
            if self.rank == 0:
                self._show(sink, chunk)
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                self._line(line, sink)
            held = b"\r" + held.rpartition(b"\r")[2] if b"\r" in held else held
        if held.strip(b"\r"):
            self._line(held, sink)
        source.close()

    def _line(self, line: bytes, sink: TextIO) -> None:
        text = ERASE.sub(b"", line.rstrip(b"\r").rpartition(b"\r")[2])
        self._write_log(text + b"\n")
        if self.rank != 0:
            self._show(sink, f"[rank {self.rank}] ".encode() + text + b"\n")

    def _write_log(self, line: bytes) -> None:
        with self._lock:
            try:
                if self._log is not None:
                    self._log.write(line)
            except OSError:
                self._log = None

    @staticmethod
    def _show(sink: TextIO, data: bytes) -> None:
        try:
            sink.flush()
            sink.buffer.write(data)
            sink.buffer.flush()
        except (OSError, ValueError):  # nobody reads any more
            return
