"""Read pictures: RGB from any file that OpenCV and Pillow know, whatever it claims to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anchor.errors import MediaError
from anchor.media.container import MAX_PIXELS

__all__ = ["check_picture", "decode_picture", "read_image"]

MAX_PICTURE_BYTES = 256 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"
MAX_PNG_PIECES = 100_000  # 8 KB each is usual


def read_image(path: Path) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3); the camera's orientation mark is honoured.

    Raises:
        MediaError: the file is missing, empty, or no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path} does not exist. Give the path of a picture.")
    check_picture(path)
    data = np.fromfile(path, np.uint8)  # cv2.imread cannot take every file name
    picture = decode_picture(data)
    if picture is None:
        raise MediaError(f"{path} is no picture that can be read ({data.size} bytes). Give a JPEG, PNG or WebP.")
    return picture


def decode_picture(data: np.ndarray) -> np.ndarray | None:
    """A picture's bytes, uint8, as uint8 RGB (H, W, 3) by OpenCV; None where they are none."""
    import cv2

    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size and is_whole_png(data) else None
    except cv2.error:  # of sizes beyond its own bounds
        return None
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])


def is_whole_png(data: np.ndarray) -> bool:
    """Whether no piece of a PNG claims more bytes than there are; whoever reads it takes memory for them first."""
    place = len(PNG)
    if data[:place].tobytes() != PNG:
        return True
    for _ in range(MAX_PNG_PIECES):
        if place + 8 > len(data):
            return place <= len(data)
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8].tobytes()
        place += 12 + length  # its length, kind and sum
        if kind == b"IEND":
            return place <= len(data)
    return False


def check_picture(path: Path) -> None:
    """See that a picture claims no more than one of a person needs, before any memory is taken.

    Raises:
        MediaError: it claims more, or is a PNG that was cut off.
    """
    from PIL import Image

    if path.stat().st_size <= MAX_PICTURE_BYTES and not is_whole_png(np.fromfile(path, np.uint8)):
        raise MediaError(f"{path} is no picture that can be read: it was cut off or damaged. Copy it again.")
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except Image.DecompressionBombError:
        width = height = MAX_PIXELS
    except Exception:  # Pillow's readers fail in many ways
        return  # OpenCV says what is wrong, or reads it
    if width * height > MAX_PIXELS or path.stat().st_size > MAX_PICTURE_BYTES:
        raise MediaError(f"{path} has more pixels than a picture of a person needs. Give a smaller one.")
