"""What the terminal shows of a check: one line per clip, at most 120 columns wide."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Sequence
from typing import TextIO

from anchor.preprocess.material.measures import Measures
from anchor.preprocess.material.store import Checked
from anchor.preprocess.material.verdict import Verdict

__all__ = ["Progress", "render_table"]

WIDTH = 120  # columns
MAX_NAME = 24
HEADS = ("size", "fps", "s", "face px", "found", "sharp", "luma", "speech", "silent", "a/v")
WIDTHS = (9, 6, 6, 7, 5, 5, 4, 6, 6, 8)
KEY = (
    "~: the frame rate varies. face px: height of the face. found: frames with it. sharp: of the face, 0 blurred to 1. "
    "luma: of the face, of 255. speech: dB while speaking. silent: share of the time. "
    "a/v: by how much the sound is late against the lips; not est.: not established."
)


def render_table(pairs: Sequence[tuple[Checked, Verdict]]) -> str:
    """The table in the order of ``pairs``; a refused clip has its reason on lines of its own."""
    names = [_short(checked.name) for checked, _ in pairs]
    room = max([4, *map(len, names)])
    left = room + sum(WIDTHS) + 2 * len(WIDTHS) + 2
    lines = ["  ".join(["clip".ljust(room), *(head.rjust(w) for head, w in zip(HEADS, WIDTHS, strict=True)), "notes"])]
    for name, (checked, verdict) in zip(names, pairs, strict=True):
        cells = _cells(checked.measures) if checked.measures else [""] * len(WIDTHS)
        row = "  ".join([name.ljust(room), *(cell.rjust(w) for cell, w in zip(cells, WIDTHS, strict=True))])
        notes = ", ".join(note.kind for note in verdict.notes)
        if not verdict.is_kept:
            notes = f"refused; {notes}" if notes else "refused"
        wrapped = textwrap.wrap(notes, WIDTH - left) or [""]
        lines.append(f"{row}  {wrapped[0]}".rstrip())
        lines += [" " * left + more for more in wrapped[1:]]
        if verdict.reason:
            reason = _plain(verdict.reason.removeprefix(f"{checked.path}").removeprefix(":").strip())
            lines += textwrap.wrap(reason, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([*lines, "", *textwrap.wrap(KEY, WIDTH)])


def _cells(measures: Measures) -> list[str]:
    faces, sound, lips = measures.faces, measures.sound, measures.lips
    return [
        f"{measures.width}x{measures.height}",
        f"{'~' if measures.is_variable_rate else ''}{measures.fps:.4g}",
        f"{measures.seconds:.1f}",
        *((f"{faces.height_px}", f"{faces.found_share:.0%}") if faces else ("-", "-")),
        *((f"{faces.sharpness:.2f}", f"{faces.luma:.0f}") if faces else ("-", "-")),
        *((f"{sound.level_db:.0f}", f"{sound.silence_share:.0%}") if sound else ("-", "-")),
        "-" if lips is None else "not est." if lips.status == "not established" else str(lips),
    ]


def _short(name: str) -> str:
    name = _plain(name)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 14]}..{name[-12:]}"


def _plain(text: str) -> str:
    """A name may hold bytes that are no text; a terminal must not fail on them."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding, "replace")


class Progress:
    """One line that says how far and how long still; on a terminal it rewrites itself."""

    def __init__(self, total: int, stream: TextIO | None = None, every_s: float = 5.0) -> None:
        self._total, self._stream, self._every_s = total, stream or sys.stderr, every_s
        self._start = self._shown = time.monotonic()
        self._is_terminal = self._stream.isatty()

    def show(self, done: int) -> None:
        """``done`` clips are finished."""
        now = time.monotonic()
        if done < self._total and now - self._shown < (0.2 if self._is_terminal else self._every_s):
            return
        self._shown = now
        left = (now - self._start) / done * (self._total - done)
        line = f"material check: {done}/{self._total} clips, {left:.0f} s left"
        self._stream.write(f"\r{line:<60}" if self._is_terminal else f"{line}\n")
        if self._is_terminal and done == self._total:
            self._stream.write("\n")
        self._stream.flush()

    def end(self) -> None:
        """Nothing more comes: leave the line."""
        if self._is_terminal:
            self._stream.write("\n")
            self._stream.flush()
