"""A news item as written: paragraphs with titles, pictures, layouts, gestures and pauses; YAML or Markdown.

Marks stand in the text: ``{wave}`` is an action of the avatar, ``{pause 0.8}`` a rest in seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from anchor.arguments import nearest
from anchor.errors import ConfigError
from anchor.speech.text import MAX_CHARACTERS, Sentence, clean_text, split_sentences

__all__ = ["Beat", "Item", "Layout", "Script", "read_script"]

Layout = Literal["full", "beside", "inset", "picture"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MOST_BYTES, MOST_ITEMS, MOST_SLIDES, MOST_TITLE = 512 * 1024, 500, 100, 80
MOST_PAUSE_S = 60.0
SIDES = (128, 3840)  # px of the video
DEFAULT_SIZE = (1280, 720)
MARK = re.compile(r"\{\s*([^{}\n]{1,64}?)\s*\}")
PAUSE = re.compile(r"pause(?:\s+([0-9.]{1,8}))?$")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)$")
RULE, COMMENT = re.compile(r"[-*_]{3,}$"), re.compile(r"<!--.*?-->", re.DOTALL)
KEYS = {"text", "title", "picture", "slides", "layout", "pause"}
HEAD_KEYS = {"size", "background", "items", "title"}


@dataclass(frozen=True)
class Beat:
    """A sentence, or none, the rest after it, and the gestures in it."""

    sentence: Sentence | None
    rest_s: float
    gestures: tuple[tuple[float, str], ...] = ()  # (share of the sentence that is said before it, name)


@dataclass(frozen=True)
class Item:
    """What is said while one layout stands."""

    number: int  # from 1, as sentences about it count
    beats: tuple[Beat, ...]
    title: str = ""
    pictures: tuple[Path, ...] = ()  # they share the item's time
    layout: Layout = "full"


@dataclass(frozen=True)
class Script:
    """A whole item of news. ``size`` is width and height in px, or None for the avatar's own."""

    items: tuple[Item, ...]
    size: tuple[int, int] | None
    background: str  # of the canvas, "#rrggbb"
    notes: tuple[str, ...]  # what is not spoken


def read_script(path: Path, rest_s: float) -> Script:
    """The script in ``path`` (.yaml, .yml, .md); pictures are looked for beside it, and nowhere else.

    ``rest_s`` follows every sentence.

    Raises:
        ConfigError: what is wrong, in which item.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"script={path} has {path.stat().st_size} bytes, and {MOST_BYTES} are read. Cut it.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"script={path} is no UTF-8 text that can be read ({type(error).__name__}).") from None
    kind = path.suffix.lower()
    if kind not in (".yaml", ".yml", ".md"):
        raise ConfigError(f"script={path} is no script. Give a .yaml or .md file.")
    head, entries = _markdown(path, text) if kind == ".md" else _yaml(path, text)
    if not entries:
        raise ConfigError(f"script={path} has no paragraph. Write at least one with a text.")
    if len(entries) > MOST_ITEMS:
        raise ConfigError(f"script={path} has {len(entries)} items, and {MOST_ITEMS} are read. Cut it in parts.")
    _check_keys(f"script={path}", head, HEAD_KEYS)
    notes: list[str] = []
    items = tuple(_item(path, number, entry, rest_s, notes) for number, entry in enumerate(entries, 1))
    if not any(beat.sentence for item in items for beat in item.beats):
        raise ConfigError(f"script={path} has no word to speak. Give at least one item a text.")
    length = sum(len(beat.sentence.text) for item in items for beat in item.beats if beat.sentence)
    if length > MAX_CHARACTERS:
        raise ConfigError(f"script={path} has {length} characters to speak, and {MAX_CHARACTERS} are at once. Cut it.")
    has_pictures = any(item.layout != "full" or item.title for item in items)
    size = _size(path, head["size"]) if head.get("size") else DEFAULT_SIZE if has_pictures else None
    background = str(head.get("background", "#101826"))
    if not re.fullmatch("#[0-9a-fA-F]{6}", background):
        raise ConfigError(f"script={path}: background {background!r} is no colour. Write one like '#101826', quoted.")
    return Script(items, size, background, tuple(dict.fromkeys(notes)))


def _yaml(path: Path, text: str) -> tuple[dict[str, Any], list[Any]]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        raise ConfigError(f"script={path} is no YAML{where}: {getattr(error, 'problem', None) or error}.") from None
    if isinstance(content, list):
        content = {"items": content}
    if not isinstance(content, dict) or not isinstance(content.get("items"), list):
        raise ConfigError(f"script={path} needs a list of items: write `items:` and under it `- text: ...`.")
    head = {str(key): value for key, value in content.items()}
    title = head.get("title", "")
    entries = [{"text": entry} if isinstance(entry, str) else entry for entry in head["items"]]
    if title and entries and isinstance(entries[0], dict):
        entries[0] = {"title": title, **entries[0]}
    return head, entries


def _markdown(path: Path, text: str) -> tuple[dict[str, Any], list[Any]]:
    """Headings are titles, images stand with the paragraphs after them, a rule is a pause of a second."""
    head: dict[str, Any] = {}
    if text.startswith("---\n") and "\n---\n" in text[3:]:
        top, _, text = text[4:].partition("\n---\n")
        head, _ = _yaml(path, top + "\nitems: []")
        head.pop("items")
    entries: list[Any] = []
    title = about = ""
    slides: list[str] = []
    for block in re.split(r"\n\s*\n", COMMENT.sub("", text).strip()):
        said: list[str] = []
        for line in filter(None, map(str.strip, block.splitlines())):
            if line.startswith("#"):
                title, about, slides = line.lstrip("#").strip(), "", []
            elif image := IMAGE.match(line):
                about, slides = image[1].strip(), [image[2].strip()] if image[2].strip() else []
            elif RULE.match(line):
                entries.append({"pause": 1.0, "title": title, "slides": slides, "layout": about})
            else:
                said.append(line)
        if said:
            entries.append({"text": "\n".join(said), "title": title, "slides": slides, "layout": about})
            title = ""
    return head, entries


def _item(path: Path, number: int, entry: Any, rest_s: float, notes: list[str]) -> Item:
    where = f"script={path}: item {number}"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} is no text and no set of keys. Keys are {', '.join(sorted(KEYS))}.")
    _check_keys(where, entry, KEYS)
    text, title = (_words(where, entry, key) for key in ("text", "title"))
    if len(title) > MOST_TITLE:
        raise ConfigError(f"{where}: the title has {len(title)} characters, and {MOST_TITLE} fit.")
    slides = entry.get("slides") or entry.get("picture") or []
    slides = [slides] if isinstance(slides, str) else slides
    if not isinstance(slides, list) or not all(isinstance(slide, str) for slide in slides):
        raise ConfigError(f"{where}: picture is a file name, slides a list of them.")
    if len(slides) > MOST_SLIDES:
        raise ConfigError(f"{where} has {len(slides)} slides, and {MOST_SLIDES} are shown. Make several items of it.")
    layout = entry.get("layout") or ("beside" if slides else "full")
    if layout not in LAYOUTS:
        raise ConfigError(f"{where}: there is no layout {layout!r}. Choose one of {', '.join(LAYOUTS)}.")
    if layout != "full" and not slides:
        raise ConfigError(f"{where}: layout {layout} needs a picture.")
    beats = _beats(where, text, rest_s, notes) if text else []
    pause_s = _seconds(where, entry["pause"]) if entry.get("pause") is not None else 0.0
    if not beats and not pause_s:
        raise ConfigError(f"{where} has neither text nor pause. Give it one of them.")
    if pause_s:
        beats.append(Beat(None, pause_s))
    return Item(number, tuple(beats), title, tuple(_inside(where, path, slide) for slide in slides), layout)


def _beats(where: str, text: str, rest_s: float, notes: list[str]) -> list[Beat]:
    """The sentences of a text; a pause ends one, a gesture keeps its place by the letters before it."""
    beats: list[Beat] = []
    stretches: list[tuple[list[str], list[str], float]] = [([""], [], rest_s)]  # (texts, gestures between, rest)
    place = 0
    for mark in MARK.finditer(text):
        stretches[-1][0][-1] += text[place : mark.start()]
        place = mark.end()
        if pause := PAUSE.match(mark[1]):
            seconds = _seconds(where, pause[1] if pause[1] else 0.5)
            stretches[-1] = (*stretches[-1][:2], seconds)
            stretches.append(([""], [], rest_s))
        else:
            stretches[-1][1].append(mark[1])
            stretches[-1][0].append(" ")
    stretches[-1][0][-1] += text[place:]
    for texts, gestures, rest in stretches:
        if not re.search(r"\w", "".join(texts)):
            beats.append(Beat(None, rest if rest != rest_s else 0.0, tuple((0.0, name) for name in gestures)))
            continue
        try:
            clean, said = clean_text("".join(texts))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        notes += said
        sentences = split_sentences(clean)
        ends = [_count("".join(texts[: number + 1])) for number in range(len(gestures))]
        begin = 0
        for number, sentence in enumerate(sentences):
            length, is_last = _count(sentence.text), number + 1 == len(sentences)
            inside = [(end, name) for end, name in zip(ends, gestures, strict=True) if begin <= end]
            inside = inside if is_last else [(end, name) for end, name in inside if end < begin + length]
            shares = tuple((min(1.0, (end - begin) / max(1, length)), name) for end, name in inside)
            beats.append(Beat(sentence, rest if is_last else rest_s, shares))
            begin += length
    return [beat for beat in beats if beat.sentence or beat.rest_s or beat.gestures]


def _count(text: str) -> int:
    """Letters that are spoken."""
    try:
        return len(re.findall(r"\w", clean_text(text)[0]))
    except ConfigError:
        return 0


def _inside(where: str, script: Path, name: str) -> Path:
    """A file in the script's folder or below it."""
    folder = script.resolve().parent
    if not name or "\0" in name or "://" in name:
        raise ConfigError(f"{where}: {name!r} is no file. Put the picture beside the script and give its name.")
    found = (folder / name).resolve()
    if not found.is_relative_to(folder):
        raise ConfigError(f"{where}: {name} lies outside the script's folder {folder}. Put a copy into it.")
    if not found.is_file():
        raise ConfigError(f"{where}: there is no file {name} in {folder}.")
    return found


def _check_keys(where: str, entry: dict[Any, Any], known: set[str]) -> None:
    for key in entry:
        if key not in known:
            names = sorted(known)
            raise ConfigError(f"{where}: {key!r} is unknown.{nearest(str(key), names)} Keys are {', '.join(names)}.")


def _words(where: str, entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {key} is {value!r}, which is no text. Put it in quotes.")
    return value.strip()


def _seconds(where: str, value: Any) -> float:
    try:
        seconds = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 < seconds <= MOST_PAUSE_S:
        raise ConfigError(f"{where}: a pause of {value!r} is out of range. Write seconds, up to {MOST_PAUSE_S:.0f}.")
    return seconds


def _size(path: Path, value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", str(value))
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (SIDES[0] <= width <= SIDES[1] and SIDES[0] <= height <= SIDES[1]):
        raise ConfigError(
            f"script={path}: size {value!r} is none. Write one like 1280x720, each side {SIDES[0]} to {SIDES[1]}."
        )
    return width - width % 2, height - height % 2
