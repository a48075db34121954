"""Sentences of a text that is still being written, as a language model writes it."""

from __future__ import annotations

import re

from anchor.errors import ConfigError
from anchor.speech.text import END, LONGEST_END, Sentence, clean_text, is_no_end, split_sentences

__all__ = ["GrowingText"]

LONGEST = 300  # characters without an end; then it is cut where one may breathe
BREATH = re.compile(r"[,，、:：)）]\s*|\s+")
THOUGHT = ("<think>", "</think>")  # models that think aloud do it between these
CODE = re.compile(r"```.*?```", re.DOTALL)
MARKS = re.compile(
    r"```.*?(?:```|\Z)|[*_`#>|]+|^[^\S\n]*[-+]\s+|!?\[([^\]]{0,200})\]\([^)]{0,500}\)", re.DOTALL | re.MULTILINE
)


class GrowingText:
    """Takes a text piece by piece and gives every sentence once, as soon as it is known to have ended.

    A model's thoughts (``<think>``), marks of Markdown and fenced code are not spoken.
    """

    def __init__(self) -> None:
        self._arrived = ""  # what may be the beginning of a mark around thoughts
        self._rest = ""
        self._is_thinking = False

    def add(self, piece: str) -> list[Sentence]:
        """The sentences that ``piece`` completes."""
        self._rest += self._spoken(piece)
        if "`" in self._rest and len(self._rest) < 20 * LONGEST:
            self._rest = CODE.sub(" ", self._rest)
            if "```" in self._rest:  # code that goes on
                return []
        end = 0
        for match in END.finditer(self._rest):
            # What ends the text so far may go on: "3." before "5", a closing quote after a full stop.
            if match.end() < len(self._rest) and not is_no_end(
                self._rest[max(0, match.end() - LONGEST_END) : match.end()]
            ):
                end = match.end()
        if not end and len(self._rest) > LONGEST:
            end = max((match.end() for match in BREATH.finditer(self._rest[:LONGEST])), default=LONGEST)
        said, self._rest = self._rest[:end], self._rest[end:]
        return _sentences(said)

    def end(self) -> list[Sentence]:
        """What is left."""
        said = self._rest + ("" if self._is_thinking else self._arrived)
        self._rest = self._arrived = ""
        return _sentences(said)

    def _spoken(self, piece: str) -> str:
        """``piece`` without thoughts; the beginning of a mark is kept until it is known to be one."""
        self._arrived += piece
        spoken = ""
        while True:
            mark = THOUGHT[self._is_thinking]
            before, found, after = self._arrived.partition(mark)
            if not found:
                break
            spoken += "" if self._is_thinking else before
            self._arrived, self._is_thinking = after, not self._is_thinking
        kept = next((n for n in range(len(mark) - 1, 0, -1) if self._arrived.endswith(mark[:n])), 0)
        end = len(self._arrived) - kept
        spoken += "" if self._is_thinking else self._arrived[:end]
        self._arrived = self._arrived[end:]
        return spoken


def _sentences(text: str) -> list[Sentence]:
    """Those of ``text`` that have a word."""
    try:
        return split_sentences(clean_text(MARKS.sub(lambda match: match[1] or " ", text))[0])
    except ConfigError:
        return []
