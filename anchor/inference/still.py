"""One picture instead of a video: what a camera, a phone or a painter saves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from anchor.errors import MediaError
from anchor.media.pictures import check_picture, read_image

__all__ = ["MAX_SIDE", "is_still", "read_still"]

MAX_SIDE = 3840  # px, the long side of 4K: larger videos play nearly nowhere, so larger pictures are reduced
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")
PAPER = 255  # grey level behind transparent parts


def is_still(path: Path) -> bool:
    """Whether ``path`` begins like a JPEG, PNG, WebP, BMP or TIFF, whatever it is called; False if there is no file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(16)
    return head.startswith(SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_still(path: Path) -> np.ndarray:
    """uint8 RGB (H, W, 3): turned as the camera was held, on white where it is transparent, at most 3840 px long.

    Grey, 16-bit and palette pictures become 8-bit RGB.

    Raises:
        MediaError: the picture is damaged.
    """
    check_picture(path)
    picture = _read_transparent(path)
    if picture is None:
        picture = read_image(path)
    scale = MAX_SIDE / max(picture.shape[:2])
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return picture


def _read_transparent(path: Path) -> np.ndarray | None:
    """The picture on white, or None where it has no transparency.

    OpenCV drops the alpha and shows what hides under it; with alpha it ignores the camera's orientation.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            if "A" not in opened.getbands() and "transparency" not in opened.info:
                return None
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path} has more pixels than a picture of a person needs. Give a smaller one.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None  # OpenCV says what is wrong, or reads it
    paper = Image.new("RGBA", upright.size, (PAPER, PAPER, PAPER, 255))
    return np.asarray(Image.alpha_composite(paper, upright).convert("RGB")).copy()
