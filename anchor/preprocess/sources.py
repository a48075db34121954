"""Find the videos of a source, and say whose they are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchor.errors import MediaError
from anchor.files import printable

__all__ = ["Source", "find_sources", "read_truth"]

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp")


@dataclass(frozen=True)
class Source:
    """One video to preprocess."""

    path: Path
    name: str  # the path inside the source folder, with forward slashes
    key: str  # from the name: unique, without dots
    speaker: str  # where no truth file says otherwise
    truth_path: Path | None  # what a renderer wrote beside the video


def find_sources(source: Path) -> list[Source]:
    """The videos of ``source``, a file or a folder with all its subfolders, in order of name.

    The speaker is the folder a video lies in where ``source`` has subfolders, else the name of the file.

    Raises:
        MediaError: there is no such file or folder, or no video in it.
    """
    source = Path(source)
    if source.is_file():
        paths, root = [source], source.parent
    elif source.is_dir():
        root = source
        paths = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(source).parts)
        )
    else:
        raise MediaError(f"source={source} does not exist. Give a video or a folder of videos.")
    if not paths:
        raise MediaError(
            f"source={source} holds no video (looked for {', '.join(SUFFIXES)}); {_describe(source)}. "
            "Give another folder."
        )
    found: list[Source] = []
    taken: set[str] = set()
    for path in paths:
        name = printable(path.relative_to(root).as_posix())
        plain = re.sub(r"[^\w-]+", "_", name.rsplit(".", 1)[0]).strip("_") or "clip"
        key, number = plain, 2
        while key in taken:
            key, number = f"{plain}_{number}", number + 1
        taken.add(key)
        folders = path.relative_to(root).parts[:-1]
        speaker = printable(folders[0] if folders else path.stem)  # what lies deeper is a matter of the speaker's own
        found.append(Source(path, name, key, speaker, _truth_path(path)))
    return found


def read_truth(source: Source) -> dict[str, Any]:
    """What the renderer knows of a clip: "speaker", "opening" per frame at 25 fps and more; empty where it is real.

    Raises:
        MediaError: the truth file is damaged.
    """
    if source.truth_path is None:
        return {}
    try:
        truth = json.loads(source.truth_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MediaError(f"{source.truth_path} is damaged ({error}). Render the clip again, or delete it.") from error
    return truth if isinstance(truth, dict) else {}


def _describe(folder: Path) -> str:
    """What lies in a folder without videos."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not files:
        return "it is empty"
    return f"it has {', '.join(files[:3])}{f' and {len(files) - 3} more' if len(files) > 3 else ''}"


def _truth_path(path: Path) -> Path | None:
    """``clip.truth.json`` beside ``clip.mp4``, or ``truth.json`` in a folder with this one video."""
    own = path.with_suffix(".truth.json")
    if own.is_file():
        return own
    shared = path.parent / "truth.json"
    if not shared.is_file():  # before the folder is looked through: it may have a hundred thousand videos
        return None
    videos = [other for other in path.parent.iterdir() if other.suffix.lower() in SUFFIXES]
    return shared if len(videos) == 1 else None
