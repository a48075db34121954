"""What is known of the face in every picture of a clip, computed once: a live session only looks it up.

Shape suffixes: T pictures of the clip, R references of each, S side of the crops in pixels, C colour (RGB), P numbers
of a pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import AvatarError
from anchor.faces import crop_face
from anchor.inference.fade import face_presence
from anchor.inference.mask import mask_extent, mouth_mask
from anchor.inference.order import choose_references
from anchor.ops.references import mouth_vector, pose_vector

__all__ = ["ClipFaces", "FaceTable", "measure_faces", "read_faces", "write_faces"]

FADE_FRAMES = 4
MAX_REFERENCES = 16  # of a picture


@dataclass(frozen=True)
class FaceTable:
    """The face of every picture, as arrays."""

    boxes: np.ndarray  # float32 (T, 4): x0, y0, x1, y1 in px, finite; where no face is, the nearest picture's box
    presence: np.ndarray  # float32 (T,) in [0, 1]: how much of a drawn mouth the picture shows
    references: np.ndarray  # int32 (T, R): the pictures that tell the network how the person looks
    regions: np.ndarray  # int32 (T, 4): left, top, right, bottom of the pixels that a drawn mouth may change
    poses: np.ndarray  # float16 (T, P): anchor.inference.pose_vector of the crop
    mask: np.ndarray  # float32 (S, S): alpha of a drawn crop
    crops: np.ndarray  # uint8 (T, S, S, C)


class ClipFaces:
    """The face of every picture of a clip: small arrays in memory, crops read from the file when asked for."""

    def __init__(self, path: Path, table: dict[str, np.ndarray], crops: Any, crop_size: int) -> None:
        self.path, self.crop_size, self._crops = path, crop_size, crops
        self.boxes, self.presence = table["boxes"], table["presence"]
        self.references, self.regions = table["references"].reshape(len(self.boxes), -1), table["regions"]
        self.poses, self.mask = table["poses"], table["mask"]

    def crop(self, number: int) -> np.ndarray:
        """The face of picture ``number``, uint8 (S, S, 3). The file is mapped, so processes share its pages."""
        return np.asarray(self._crops[number])

    def reference(self, number: int) -> np.ndarray:
        """The crops that show the network how the person of picture ``number`` looks, uint8 (S, S, 3 R)."""
        return np.concatenate([self.crop(int(one)) for one in self.references[number]], 2)


def measure_faces(
    pictures: Any, boxes_T4: np.ndarray, ids_T: np.ndarray, crop_size: int, num_references: int = 1
) -> FaceTable:
    """The table of ``pictures`` (by number, uint8 RGB), of whose faces the boxes are known; ``ids_T`` is -1 for none.

    References are chosen as `anchor infer` chooses them: near in pose, far in mouth, half a second away.
    """
    seen = np.flatnonzero(ids_T >= 0)
    assert len(seen), "a clip shows a face"
    nearest = seen[np.abs(np.arange(len(ids_T))[:, None] - seen).argmin(1)]
    boxes_T4 = boxes_T4[nearest].astype(np.float32)
    crops, poses, regions = [], [], []
    for number in range(len(ids_T)):
        picture = pictures[number]
        crops.append(crop_face(picture, boxes_T4[number], crop_size))
        poses.append(pose_vector(crops[-1]))
        regions.append(_region(boxes_T4[number], crop_size, picture.shape))
    poses_TP = np.stack(poses)
    mouths_TQ = np.stack([mouth_vector(crop) for crop in crops])
    references_TR = choose_references("nearest", ids_T, poses_TP, mouths_TQ, count=num_references)[nearest]
    return FaceTable(
        boxes=boxes_T4,
        presence=face_presence(ids_T, FADE_FRAMES),
        references=references_TR.astype(np.int32),
        regions=np.array(regions, np.int32),
        poses=poses_TP.astype(np.float16),
        mask=np.array(mouth_mask(crop_size)),
        crops=np.stack(crops),
    )


def write_faces(path: Path, table: FaceTable) -> None:
    """Write ``table`` as safetensors."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in vars(table).items()}, str(path))


def read_faces(path: Path, num_frames: int, size: tuple[int, int], crop_size: int) -> ClipFaces:
    """What :func:`write_faces` wrote, for a clip of ``num_frames`` pictures of ``size``.

    Avatars that were built when a network took one reference alone have ``references`` (T,); they are read too.

    Raises:
        AvatarError: it is damaged, of another clip, or holds numbers that cannot be.
    """
    from safetensors import SafetensorError, safe_open

    num_poses = len(pose_vector(np.zeros((8, 8, 3), np.uint8)))
    wanted: dict[str, tuple[str, list[int]]] = {
        "boxes": ("F32", [num_frames, 4]), "presence": ("F32", [num_frames]), "references": ("I32", [num_frames, 1]),
        "regions": ("I32", [num_frames, 4]), "poses": ("F16", [num_frames, num_poses]),
        "mask": ("F32", [crop_size, crop_size]), "crops": ("U8", [num_frames, crop_size, crop_size, 3]),
    }  # fmt: skip
    try:
        file = safe_open(str(path), framework="numpy")
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        told = {name: (array.get_dtype(), list(array.get_shape())) for name, array in found.items()}
        _, shape = told.get("references", ("", []))
        if shape == [num_frames] or (len(shape) == 2 and 1 <= shape[1] <= MAX_REFERENCES):
            wanted["references"] = "I32", [num_frames, *shape[1:]]
        if told != wanted:
            odd = [name for name in {**wanted, **told} if told.get(name) != wanted.get(name)]
            raise AvatarError(f"{path} is of another clip: {', '.join(odd)[:80]} differ. Build the avatar again.")
        table = {name: file.get_tensor(name) for name in wanted if name != "crops"}
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, AvatarError):
            raise
        raise AvatarError(f"{path}: not a readable safetensors file ({error}). Build the avatar again.") from None
    _check_table(path, table, num_frames, size)
    return ClipFaces(path, table, found["crops"], crop_size)


def _check_table(path: Path, table: dict[str, np.ndarray], num_frames: int, size: tuple[int, int]) -> None:
    boxes_T4, regions_T4, references_TR = table["boxes"], table["regions"], table["references"]
    sides_T2 = boxes_T4[:, 2:] - boxes_T4[:, :2]
    is_sound = (
        all(np.isfinite(table[name]).all() for name in ("boxes", "presence", "poses", "mask"))
        and (sides_T2 >= 1).all()
        and (np.abs(boxes_T4) <= 4 * max(size)).all()
        and (table["presence"] >= 0).all()
        and (table["presence"] <= 1).all()
        and (table["mask"] >= 0).all()
        and (table["mask"] <= 1).all()
        and (references_TR >= 0).all()
        and (references_TR < num_frames).all()
        and (regions_T4 >= 0).all()
        and (regions_T4[:, :2] <= regions_T4[:, 2:]).all()
        and (regions_T4[:, 2:] <= size).all()
    )
    if not is_sound:
        raise AvatarError(f"{path} holds boxes, references or regions that cannot be. Build the avatar again.")


def _region(box: np.ndarray, crop_size: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What :func:`anchor.inference.paste.paste_mouth` may change, grown to even pixels for 4:2:0."""
    x0, y0, x1, y1 = (float(side) for side in box)
    across, down = mask_extent(crop_size)
    left, right = math.floor(x0 + across[0] * (x1 - x0)) // 2 * 2, -(-math.ceil(x0 + across[1] * (x1 - x0)) // 2) * 2
    top, bottom = math.floor(y0 + down[0] * (y1 - y0)) // 2 * 2, -(-math.ceil(y0 + down[1] * (y1 - y0)) // 2) * 2
    left, top = min(max(0, left), shape[1]), min(max(0, top), shape[0])
    return left, top, max(left, min(shape[1], right)), max(top, min(shape[0], bottom))
