"""Where the result goes: refused before any work is done, if it cannot go there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from anchor.errors import MediaError
from anchor.inference.folder import check_folder

__all__ = ["OutputKind", "check_target"]

OutputKind = Literal["video", "frames"]


def check_target(out: Path, output: OutputKind, inputs: list[Path]) -> None:
    """Look whether ``out`` may be written; creates nothing.

    Raises:
        MediaError: it has the wrong kind or suffix, is one of the ``inputs`` or holds one, or cannot be created.
    """
    if output == "frames":
        if out.suffix.lower() == ".mp4":
            raise MediaError(f"out={out} is the name of a video. Give a folder, or output=video.")
        check_folder(out)
        held = [path for path in inputs if path.parent.exists() and out.exists() and path.parent.samefile(out)]
        if held:
            raise MediaError(f"out={out} holds the input {held[0].name}. Give another folder; the input stays.")
    else:
        if out.is_dir():
            raise MediaError(f"out={out} is a folder. Give the name of the video to write, or output=frames.")
        if out.suffix.lower() != ".mp4":
            raise MediaError(f"out={out} is no mp4. Give a name that ends in .mp4, or output=frames and a folder.")
        if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
            raise MediaError(f"out={out} is also the input. Give another name; the input stays.")
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise MediaError(f"out={out}: {parent} is a file, so no folder can be made there. Give another place.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise MediaError(f"out={out}: nothing may be written in {parent}. Give another place, or its permissions.")
