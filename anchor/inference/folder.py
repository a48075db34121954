"""`output=frames`: numbered PNGs, the speech as a WAV, and a record of what each frame is."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anchor.errors import MediaError

__all__ = ["check_folder", "write_frames"]

MAKER = "anchor infer output=frames"
RECORD, SPEECH = "frames.json", "speech.wav"
OWN = re.compile(r"\d{6}\.png|frames\.json|speech\.wav|\.partial")
PNG_LEVEL = 1  # of 9: a third larger than the default, several times faster


def check_folder(folder: Path) -> None:
    """Refuse what is not a new folder, an empty one, or one that an earlier call left.

    Raises:
        MediaError: ``folder`` is a file, or holds what is not ours.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise MediaError(f"out={folder} is a file. Give the folder for the frames (or output=video for one file).")
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if not OWN.fullmatch(name)]
    if foreign or (names and not _is_ours(folder)):
        raise MediaError(
            f"out={folder} is not empty ({', '.join((foreign or names)[:3])}) and not a folder of `{MAKER}` alone. "
            "Give a new or an empty folder."
        )


def write_frames(
    folder: Path,
    frames: Iterable[np.ndarray],
    fps: int,
    audio: np.ndarray,
    sample_rate: int,
    record: dict[str, Any],
    shown: Sequence[dict[str, Any]],
) -> int:
    """Write ``frames`` (uint8 RGB) as ``000000.png`` and on, ``audio`` (float mono) beside them; returns their number.

    ``frames.json`` holds ``record`` and one entry of ``shown`` for each frame that is there; it is written at the
    start and at the end, also at a bad one: what was written before a Ctrl-C stays, and is what the record says.
    What an earlier call left in ``folder`` goes first.

    Raises:
        MediaError: the folder cannot be written, or the disk is full.
    """
    check_folder(folder)
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if OWN.fullmatch(old.name):
                old.unlink()
        _write_record(folder, record, fps, shown[:0], False)
        _write_speech(folder / SPEECH, audio, sample_rate)
        try:
            for frame in frames:
                options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL]
                data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1]
                _replace(folder / f"{count:06d}.png", data.data)
                count += 1
        finally:
            _write_record(folder, record, fps, shown[:count], count == len(shown))
    except OSError as error:
        reason = error.strerror or error
        raise MediaError(
            f"{folder}: frame {count} could not be written: {reason}. Check the folder and the disk."
        ) from error
    return count


def _is_ours(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / RECORD).read_text())["maker"] == MAKER)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_record(
    folder: Path, record: dict[str, Any], fps: int, shown: Sequence[dict[str, Any]], is_complete: bool
) -> None:
    head = {"maker": MAKER, "fps": fps, "count": len(shown), "complete": is_complete, "speech": SPEECH, **record}
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in shown)
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2] + f',\n "frames": [\n{lines}\n ]\n}}\n'
    _replace(folder / RECORD, text.encode())


def _write_speech(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.rint(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())


def _replace(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` so that ``path`` is whole or not there."""
    partial = path.with_name(".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
