"""Foreign folders, looked at with care: numbered JPEGs, a wav; bounded, and never outside of the source.

Shape suffixes: H W pixels, T frames.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from anchor.errors import MediaError
from anchor.media import decode_picture, read_audio
from anchor.ops.jpeg import decode_rgb
from anchor.shards.jpegs import jpeg_size

__all__ = ["inside", "numbered", "read_jpeg", "read_picture", "read_wav", "wav_rate"]

MAX_JPEG_BYTES = 16 * 2**20
MAX_PNG_BYTES = 64 * 2**20
MAX_SIDE = 4096  # px
MAX_FRAMES = 250_000  # of one clip: 2 h 46 min at 25 fps
MAX_WAV_BYTES = 2**30  # 9 h of 16 kHz 16 bit mono


def inside(path: Path, source: Path) -> bool:
    """Whether ``path``, with all links followed, lies in ``source``."""
    try:
        return path.resolve(strict=True).is_relative_to(source.resolve())
    except (OSError, RuntimeError):
        return False


def numbered(folder: Path, suffix: str = ".jpg") -> dict[int, Path]:
    """The files ``N.jpg`` of ``folder`` by their number.

    Raises:
        MediaError: a number stands there twice or is beyond every clip.
    """
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, extension = os.path.splitext(entry.name)
            if extension.lower() != suffix or not (stem.isascii() and stem.isdigit()):
                continue
            if len(stem) > 9 or int(stem) >= MAX_FRAMES:
                raise MediaError(f"{folder}: {entry.name[:40]} is beyond the {MAX_FRAMES} frames that a clip may have.")
            if int(stem) in found:
                raise MediaError(f"{folder}: frame {int(stem)} stands there twice. Remove one of the two.")
            found[int(stem)] = Path(entry.path)
    return found


def read_jpeg(path: Path, source: Path) -> np.ndarray:
    """uint8 RGB (H, W, 3) of the JPEG at ``path`` inside ``source``.

    Raises:
        MediaError: it is no JPEG, too large, or a link that leads out of ``source``.
    """
    data = _bounded(path, source, MAX_JPEG_BYTES)
    try:
        height, width = jpeg_size(memoryview(data))
        _check_size(path, width, height)
        return decode_rgb(data)
    except MediaError:
        raise
    except (RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or ["damaged"])[0][:120]
        raise MediaError(f"{path} is no JPEG that can be read ({said}). Copy it again.") from None


def read_picture(path: Path, source: Path) -> np.ndarray:
    """uint8 RGB (H, W, 3) of the JPEG or PNG at ``path`` inside ``source``; a PNG's own claim of size is bounded first.

    Raises:
        MediaError: it is neither, too large, or a link that leads out of ``source``.
    """
    if path.suffix.lower() != ".png":
        return read_jpeg(path, source)
    data = _bounded(path, source, MAX_PNG_BYTES)
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise MediaError(f"{path} is no PNG ({len(data)} bytes begin with {data[:8]!r}). Copy it again.")
    _check_size(path, width, height)
    picture = decode_picture(np.frombuffer(data, np.uint8))
    if picture is None:
        raise MediaError(f"{path} is a damaged PNG. Copy it again.")
    return picture


def _bounded(path: Path, source: Path, most: int) -> bytes:
    if not inside(path, source) or not path.is_file():
        raise MediaError(f"{path} leads out of {source}, or to no file. Copy the picture itself.")
    if path.stat().st_size > most:
        raise MediaError(f"{path}: {path.stat().st_size} bytes, and a picture may have {most}.")
    return path.read_bytes()


def _check_size(path: Path, width: int, height: int) -> None:
    if not (8 <= height <= MAX_SIDE and 8 <= width <= MAX_SIDE):
        raise MediaError(f"{path}: {width}x{height} px, and sides of 8 to {MAX_SIDE} px are read.")


def wav_rate(path: Path, source: Path) -> int:
    """The sample rate that the header of a wav claims.

    Raises:
        MediaError: it is missing, too large, no wav, or a link that leads out of ``source``.
    """
    if not path.exists():
        raise MediaError(f"{path} is missing. Put the clip's speech there, as a wav.")
    if not inside(path, source) or not path.is_file():
        raise MediaError(f"{path} leads out of {source}, or to no file. Copy the sound itself.")
    if path.stat().st_size > MAX_WAV_BYTES:
        raise MediaError(f"{path}: {path.stat().st_size} bytes, and a sound may have {MAX_WAV_BYTES}. Cut it.")
    with path.open("rb") as file:
        head = file.read(4096)
    place = head.find(b"fmt ", 12)
    # Only a wav: what FFmpeg knows besides may be a playlist, which names files elsewhere.
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE" or not 0 < place <= len(head) - 16:
        raise MediaError(f"{path} is no wav ({len(head)} bytes begin with {head[:4]!r}). Export it as a wav.")
    rate = int.from_bytes(head[place + 12 : place + 16], "little")
    if not 4000 <= rate <= 384_000:
        raise MediaError(f"{path}: its header claims {rate} samples per second. Export it again.")
    return rate


def read_wav(path: Path, source: Path) -> tuple[np.ndarray, int]:
    """float32 (L,) at 16 kHz, and the rate it was stored at.

    Raises:
        MediaError: as :func:`wav_rate`, or the sound is damaged.
    """
    rate = wav_rate(path, source)
    return read_audio(path), rate


def shrink(picture: np.ndarray, size: int) -> np.ndarray:
    """``picture`` stretched to (size, size, 3)."""
    if picture.shape[:2] == (size, size):
        return picture
    way = cv2.INTER_AREA if min(picture.shape[:2]) > size else cv2.INTER_LINEAR
    return cv2.resize(picture, (size, size), interpolation=way)
