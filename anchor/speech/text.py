"""Text for a voice: cleaned, bounded, cut into sentences, each with its language."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anchor.errors import ConfigError

__all__ = ["MAX_CHARACTERS", "Sentence", "clean_text", "language_of", "split_sentences"]

MAX_CHARACTERS = 20_000  # about 25 min of English
TAG = re.compile(r"</?[A-Za-z!?][^<>]{0,300}>")
UNSPOKEN = re.compile(
    "[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ue000-\uf8ff\u2600-\u27bf\u2b00-\u2bff"
    "\U0001f000-\U0001faff\U000e0000-\U000e007f\x00-\x08\x0b-\x1f\x7f]"
)
HAN, KANA, HANGUL = (
    re.compile("[\u3400-\u9fff\U00020000-\U0002ffff]"),
    re.compile("[\u3040-\u30ff]"),
    re.compile("[\uac00-\ud7a3]"),
)
CYRILLIC, LATIN = re.compile("[\u0400-\u04ff]"), re.compile(r"[A-Za-z\u00c0-\u024f]")
END = re.compile(r"(?<=[。！？；…])(?![”’」』）])|(?<=[。！？][”’」』）])|(?<=[.!?;…])[\"')\]”’]*\s+|\n+")
LONGEST_END = 60  # characters at the end of a text that are looked at: all of it, for each end, would take minutes
NO_END = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|vs|No|Jr|Sr|e\.g|i\.e)|\b[A-Z])\.\s+$")


@dataclass(frozen=True)
class Sentence:
    """What is said in one breath: the text, and its parts with their languages; mostly it is one part."""

    text: str
    parts: tuple[tuple[str, str], ...]  # (text, language)


def clean_text(text: str) -> tuple[str, list[str]]:
    """``text`` without tags and signs that nobody speaks, and what was left out, in words.

    Raises:
        ConfigError: nothing is left to speak, or it is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"The text has {len(text)} characters, and {MAX_CHARACTERS} are spoken at once. Give a part of it."
        )
    notes = []
    text, tags = TAG.subn(" ", text)
    if tags:
        notes.append(f"{tags} tags are not spoken (SSML is not understood)")
    text, signs = UNSPOKEN.subn(" ", text)
    if signs:
        notes.append(f"{signs} emoji and control characters are not spoken")
    text = re.sub(r" +(?=[.,!?;:。，！？；：])", "", re.sub(r"[^\S\n]+", " ", text)).strip()
    if not re.search(r"\w", text):
        raise ConfigError("There is no word in the text to speak. Give at least one.")
    return text, notes


def language_of(text: str) -> str:
    """en, zh, ja, ko or ru by its letters; Latin ones count as English. A text without letters is English."""
    if KANA.search(text):
        return "ja"
    counts = {"zh": 2 * len(HAN.findall(text)), "ko": 2 * len(HANGUL.findall(text)), "ru": len(CYRILLIC.findall(text))}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] and counts[best] >= len(LATIN.findall(text)) / 2 else "en"


def is_no_end(text: str) -> bool:
    """Whether a text that seems to end a sentence ends with an abbreviation."""
    return NO_END.search(text[-LONGEST_END:]) is not None


def split_sentences(text: str) -> list[Sentence]:
    """The sentences of a cleaned text, in order. Words of another script inside become parts of their own."""
    pieces, start = [], 0
    for match in END.finditer(text):
        if is_no_end(text[start : match.end()]):
            continue
        pieces.append(text[start : match.end()])
        start = match.end()
    pieces.append(text[start:])
    return [Sentence(piece.strip(), _parts(piece.strip())) for piece in pieces if re.search(r"\w", piece)]


def _parts(text: str) -> tuple[tuple[str, str], ...]:
    language = language_of(text)
    if language != "en" or not (HAN.search(text) or HANGUL.search(text) or CYRILLIC.search(text)):
        return ((text, language),)  # Mandarin voices read English words themselves
    runs = re.split(r"([\u3400-\u9fff]+|[\uac00-\ud7a3]+|[\u0400-\u04ff]+(?: [\u0400-\u04ff]+)*)", text)
    return tuple((run.strip(), language_of(run)) for run in runs if re.search(r"\w", run))
