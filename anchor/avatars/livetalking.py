"""`anchor import livetalking`: a folder of pictures with face boxes, as LiveTalking keeps an avatar, as one of ours.

Its layout: ``full_imgs/N.png``, the pictures at 25 a second, shown to and fro; ``coords.pkl``, a pickled list of a box
for each; ``face_imgs/N.png``, what those boxes cut out. Boxes are (y0, y1, x0, x1) where its wav2lip made them, and
(x0, y0, x1, y1) where ultralight or musetalk did: the crops tell which.

Shape suffixes: T pictures.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from anchor.avatars.builder import check_place, read_network, write_avatar
from anchor.avatars.package import MAX_FRAMES, MAX_NAME
from anchor.avatars.plan import Stretch
from anchor.avatars.source import Source, look_at
from anchor.errors import AvatarError, FaceError, MediaError
from anchor.faces import FaceTrack, make_detector
from anchor.imports.coordinates import read_coordinates
from anchor.imports.pictures import numbered, read_picture
from anchor.inference.heap import return_large_blocks
from anchor.models import WeightKind

__all__ = ["import_livetalking"]

SUFFIXES = (".png", ".jpg", ".jpeg")
MIN_PICTURES = 10
YYXX, XYXY = (2, 0, 3, 1), (0, 1, 2, 3)  # where x0, y0, x1, y1 stand in a box
LOOKED_AT = 5  # crops that are compared with their boxes
MOST_ALIKE = 12.0  # grey levels by which a crop may differ from what its box cuts out: JPEGs and other scalers do so


def import_livetalking(
    *,
    path: Path,
    checkpoint: Path,
    out: Path,
    name: str = "",
    boxes: Literal["coords", "detected"] = "coords",
    rest: Literal["original", "drawn"] = "original",
    height: int = 0,
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    weights: WeightKind = "auto",
) -> None:
    """An avatar's folder of LiveTalking (its wav2lip, ultralight or musetalk) and a network of ours as an avatar.

    path: the folder that holds full_imgs/ and coords.pkl. checkpoint, out, name, height: as of `anchor avatar build`.
    boxes: coords takes those of coords.pkl, of which nothing is run (only lists of numbers are read); detected finds
    the faces anew, the way the networks of this project were taught, and leaves the file alone.
    rest: the mouth between sentences, as it was filmed (original, what LiveTalking shows) or drawn closed.

    Its networks, masks and recordings are not read: anchor import weights takes Wav2Lip's.
    """
    path, checkpoint, out = Path(path), Path(checkpoint), Path(out)
    name = name or path.resolve().name[:MAX_NAME]
    check_place(out, [path, checkpoint], height, name)
    if not path.is_dir() or not (path / "full_imgs").is_dir():
        raise AvatarError(f"path={path} is no avatar of LiveTalking: it holds no folder full_imgs.")
    pictures = NumberedPictures(path / "full_imgs", path)
    if len(pictures) < MIN_PICTURES:
        raise AvatarError(f"{path / 'full_imgs'} holds {len(pictures)} pictures; {MIN_PICTURES} or more are needed.")
    return_large_blocks()
    net, card = read_network(checkpoint, weights)
    if boxes == "coords":
        track = _read_track(path, pictures)
        source = Source(pictures, track, np.zeros(len(pictures), np.float32), None, False)
    else:
        source = look_at(path, pictures, make_detector(detector), len(pictures), None, False)
    count = len(pictures)
    plan = [Stretch("idle", "idle", 0, count, 0, count, "back_and_forth", True)]
    origin = {"file": path.resolve().name, "sha256": pictures.sum(), "kind": "livetalking", "frames_seen": count}
    write_avatar(
        source, plan, out, net, card, name=name, origin=origin, height=height, rest=rest, device=device
    )  # fmt: skip
    if pictures.num_left:
        print(f"  the first {count} pictures are taken, {pictures.num_left} are left out: a clip has no more.")


class NumberedPictures:
    """The pictures of a folder in the order of their numbers, read when asked for; all of one size.

    Raises:
        MediaError: a picture is damaged, too large, of another size than the first, or elsewhere.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        found: dict[int, Path] = {}
        for suffix in SUFFIXES:
            for number, path in numbered(folder, suffix).items():
                if found.setdefault(number, path) is not path:
                    raise MediaError(f"{folder}: frame {number} stands there twice. Remove one of the two.")
        self.paths = [found[number] for number in sorted(found)][:MAX_FRAMES]
        self.num_left = len(found) - len(self.paths)
        self._source = source
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> np.ndarray:
        picture = read_picture(self.paths[number], self._source)
        self._shape = self._shape or picture.shape
        if picture.shape != self._shape:
            raise MediaError(
                f"{self.paths[number]} is {picture.shape[1]}x{picture.shape[0]}, the first picture was "
                f"{self._shape[1]}x{self._shape[0]}. Give all pictures one size."
            )
        return picture

    def sum(self) -> str:
        """SHA-256 of all files, one after the other, in hex."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _read_track(path: Path, pictures: NumberedPictures) -> FaceTrack:
    """The boxes of coords.pkl; a picture whose box is empty or outside shows no face."""
    where = path / "coords.pkl"
    rows_T4 = np.array(read_coordinates(where), np.float32)
    if len(rows_T4) != len(pictures) + pictures.num_left:
        raise AvatarError(
            f"{where} holds {len(rows_T4)} boxes for {len(pictures) + pictures.num_left} pictures. Copy the folder "
            "again, or find the faces anew: boxes=detected."
        )
    height, width = pictures[0].shape[:2]
    boxes_T4 = rows_T4[: len(pictures), list(_find_order(path, pictures, rows_T4))]
    is_face_T = (
        (boxes_T4[:, 2:] - boxes_T4[:, :2] >= 8).all(1)  # px
        & (boxes_T4[:, :2] >= 0).all(1)
        & (boxes_T4[:, 2:] <= (width, height)).all(1)
    )
    if not is_face_T.any():
        raise FaceError(f"{where}: no box lies in its picture of {width}x{height} px. Find faces anew: boxes=detected.")
    boxes_T4[~is_face_T] = np.nan
    return FaceTrack(boxes_T4, np.where(is_face_T, 0, -1).astype(np.int32), float(is_face_T.mean()))


def _find_order(path: Path, pictures: NumberedPictures, rows_T4: np.ndarray) -> tuple[int, ...]:
    """Which of the two orders the boxes have: the one that cuts out what face_imgs shows."""
    if not (path / "face_imgs").is_dir():
        if (path / "mask").is_dir() or (path / "mask_coords.pkl").exists():  # musetalk keeps no crops
            return XYXY
        raise AvatarError(
            f"{path} has no face_imgs, which tell how its boxes are meant. Find them anew: boxes=detected."
        )
    crops = NumberedPictures(path / "face_imgs", path)
    numbers = [number for number in range(0, len(pictures), -(-len(pictures) // LOOKED_AT)) if number < len(crops)]
    unlike = {}
    for order in (YYXX, XYXY):
        found = [_difference(pictures[number], rows_T4[number, list(order)], crops[number]) for number in numbers]
        unlike[order] = float(np.median(found)) if found else np.inf
    best = min(unlike, key=unlike.__getitem__)
    if not unlike[best] <= MOST_ALIKE:
        raise AvatarError(
            f"{path}: the boxes of coords.pkl do not cut out what face_imgs shows (they differ by {unlike[best]:.0f} "
            "grey levels). One of the two is of another avatar; find the faces anew: boxes=detected."
        )
    return best


def _difference(picture: np.ndarray, box: np.ndarray, crop: np.ndarray) -> float:
    x0, y0, x1, y1 = (int(side) for side in np.clip(box, 0, 2**20))
    part = picture[y0:y1, x0:x1]
    if not part.size:
        return float("inf")
    resized = cv2.resize(part, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_LINEAR)
    return float(np.abs(resized.astype(np.int16) - crop).mean())
