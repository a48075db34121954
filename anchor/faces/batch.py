"""Face detection in batches on a device: YuNet and SCRFD as torch modules, with all that follows them.

Decoding and suppression run on the device, for the whole batch and with shapes that depend on the pictures' size
alone: only the rows of the best places come back. On a card a batch that is not full is filled up with black.

Shape suffixes: N pictures, C channels, H W px, P places times anchors, K the best of them, A sides or coordinates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from anchor.errors import FaceError
from anchor.faces.best import choose_best
from anchor.faces.face import Face, SmallPicture, reduce_frame
from anchor.faces.insight import DET_SIZE, SHOWN, scrfd_faces, with_margin
from anchor.faces.insight import MAX_OVERLAP as SCRFD_OVERLAP
from anchor.faces.insight import MIN_SCORE as SCRFD_SCORE
from anchor.faces.network import Network, load_network
from anchor.faces.yunet import LONG_SIDE, MAX_FACES, MAX_OVERLAP, MIN_SCORE, yunet_faces

__all__ = ["BATCH_SIZE", "BatchedScrfd", "BatchedYuNet"]

BATCH_SIZE = 16
YUNET_STRIDES = (8, 16, 32)
SCRFD_STRIDES = {6: (8, 16, 32), 9: (8, 16, 32), 10: (8, 16, 32, 64, 128), 15: (8, 16, 32, 64, 128)}  # by outputs
SCRFD_PLACES = 256  # the surest, that suppression looks at: it needs a fixed number, insightface has no limit


class _Batched:
    """What both share: the network on its device, and batches of one size of picture."""

    name: str

    def __init__(self, model: Path, device: torch.device, batch_size: int) -> None:
        self.batch_size = batch_size
        self.device = device
        self._net: Network = load_network(model)
        self._check(model)
        self._net.to(device)

    def _check(self, model: Path) -> None:
        """Refuse a network with other outputs than this one has."""
        raise NotImplementedError

    def _detect_alike(self, smalls: Sequence[SmallPicture]) -> list[list[Face]]:
        """The faces of at most ``batch_size`` pictures of one size."""
        raise NotImplementedError

    def shrink(self, frame: np.ndarray) -> SmallPicture:
        """What it will look at of a uint8 RGB picture (H, W, 3)."""
        raise NotImplementedError

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        return self.detect_batch([frame])[0]

    def detect_batch(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces in each of the uint8 RGB pictures (H, W, 3), the surest first."""
        return self.detect_small([self.shrink(picture) for picture in pictures])

    def detect_small(self, smalls: Sequence[SmallPicture]) -> list[list[Face]]:
        """The faces in each of the shrunken pictures, in px of their frames, the surest first."""
        faces: list[list[Face]] = []
        while len(faces) < len(smalls):
            first = smalls[len(faces)].picture.shape
            alike = []
            for small in smalls[len(faces) : len(faces) + self.batch_size]:
                if small.picture.shape != first:
                    break
                alike.append(small)
            faces += self._detect_alike(alike)
        return faces

    def _upload(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """float32 (N, 3, H, W) on the device, in [0, 255]."""
        batch_NHWC = torch.from_numpy(np.stack(pictures))
        if self.device.type != "cpu" and len(pictures) < self.batch_size:  # one shape: cards prepare kernels per shape
            blank = batch_NHWC.new_zeros((self.batch_size - len(pictures), *batch_NHWC.shape[1:]))
            batch_NHWC = torch.cat([batch_NHWC, blank])
        return batch_NHWC.to(self.device).permute(0, 3, 1, 2).float().contiguous()

    def _exact(self) -> contextlib.AbstractContextManager[None]:
        """Convolutions in whole float32: TF32, cuDNN's default, would let the faces found depend on the card."""
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)  # type: ignore[no-any-return]


class BatchedYuNet(_Batched):
    """YuNet (Apache-2.0) on ``device``: the faces of ``YuNetDetector``, in batches."""

    name = "yunet"

    def _check(self, model: Path) -> None:
        wanted = {f"{what}_{stride}" for what in ("cls", "obj", "bbox", "kps") for stride in YUNET_STRIDES}
        if set(self._net.output_names) != wanted:
            raise FaceError(
                f"{model} is no YuNet model: its outputs are {', '.join(self._net.output_names)}. "
                "Delete it and run `anchor models fetch name=yunet`, or use detector=auto."
            )

    def shrink(self, frame: np.ndarray) -> SmallPicture:
        """What it will look at of a uint8 RGB picture (H, W, 3)."""
        return SmallPicture(*reduce_frame(frame, LONG_SIDE))

    def _detect_alike(self, smalls: Sequence[SmallPicture]) -> list[list[Face]]:
        height, width = smalls[0].picture.shape[:2]
        size = (-(-height // 32) * 32, -(-width // 32) * 32)  # the coarsest stride divides it
        pad = (0, size[0] - height, 0, size[1] - width)
        padded = [cv2.copyMakeBorder(small.picture, *pad, cv2.BORDER_CONSTANT) for small in smalls]
        with torch.inference_mode(), self._exact():
            out = self._net(self._upload(padded).flip(1))  # it was trained on BGR
            rows_NPA = torch.cat([self._decode(out, stride, size) for stride in YUNET_STRIDES], 1)
            # OpenCV suppresses boxes of whole pixels; so does this, for the same faces.
            whole_NPA = rows_NPA[..., :4].trunc()
            edges_NPA = torch.cat([whole_NPA[..., :2], whole_NPA[..., :2] + whole_NPA[..., 2:]], -1)
            kept = choose_best(rows_NPA, edges_NPA, rows_NPA[..., 14], MIN_SCORE, MAX_OVERLAP, MAX_FACES)
        return [yunet_faces(rows, small.scale) for rows, small in zip(kept, smalls, strict=False)]

    @staticmethod
    def _decode(out: dict[str, Tensor], stride: int, size: tuple[int, int]) -> Tensor:
        """(N, P, 15) of one stride: x, y, width, height, five points in px, score."""
        box_NPA, points_NPA = out[f"bbox_{stride}"], out[f"kps_{stride}"]
        place_PA = _places(size, stride, box_NPA)
        sides_NPA = box_NPA[..., 2:].exp() * stride
        corner_NPA = (box_NPA[..., :2] + place_PA) * stride - sides_NPA / 2
        points_NPA = (points_NPA + place_PA.repeat(1, 5)) * stride
        score_NPA = (out[f"cls_{stride}"].clamp(0, 1) * out[f"obj_{stride}"].clamp(0, 1)).sqrt()
        return torch.cat([corner_NPA, sides_NPA, points_NPA, score_NPA], -1)


class BatchedScrfd(_Batched):
    """The SCRFD of a model pack on ``device``: the faces of ``InsightFaceDetector``, in batches."""

    name = "insightface"

    def _check(self, model: Path) -> None:
        count = len(self._net.output_names)
        if count not in SCRFD_STRIDES:
            raise FaceError(f"{model} is no SCRFD model: it has {count} outputs. Use faces.device=cpu.")
        self._strides = SCRFD_STRIDES[count]
        self._num_anchors = 2 if len(self._strides) == 3 else 1
        self._has_points = count // len(self._strides) == 3
        self._size = self._net.fixed_size or (DET_SIZE, DET_SIZE)  # height, width

    def shrink(self, frame: np.ndarray) -> SmallPicture:
        """What it will look at of a uint8 RGB picture (H, W, 3)."""
        return SmallPicture(*reduce_frame(frame, SHOWN))

    def _detect_alike(self, smalls: Sequence[SmallPicture]) -> list[list[Face]]:
        shown, ratio, pad = [], 1.0, 0
        for small in smalls:
            padded, pad = with_margin(small.picture)
            canvas, ratio = self._canvas(padded)
            shown.append(canvas)
        with torch.inference_mode(), self._exact():
            out = self._net((self._upload(shown) - 127.5) / 128)
            rows_NPA = torch.cat([self._decode(out, number) for number in range(len(self._strides))], 1)
            rows_NPA[..., :-1] /= ratio
            # insightface counts the last pixel of a box with it.
            edges_NPA = torch.cat([rows_NPA[..., :2], rows_NPA[..., 2:4] + 1], -1)
            kept = choose_best(rows_NPA, edges_NPA, rows_NPA[..., -1], SCRFD_SCORE, SCRFD_OVERLAP, SCRFD_PLACES)
        faces = []
        for rows, small in zip(kept, smalls, strict=False):
            points = rows[:, 4:14].reshape(-1, 5, 2) if self._has_points else None
            faces.append(scrfd_faces(rows[:, [0, 1, 2, 3, -1]], points, pad, small.scale))
        return faces

    def _canvas(self, padded: np.ndarray) -> tuple[np.ndarray, float]:
        """``padded`` enlarged into the top left of the network's picture, as insightface does it; by how much."""
        height, width = self._size
        shape = padded.shape[0] / padded.shape[1]
        is_tall = shape > height / width
        size = (int(height / shape), height) if is_tall else (width, int(width * shape))
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(padded, size)
        return canvas, size[1] / padded.shape[0]

    def _decode(self, out: dict[str, Tensor], number: int) -> Tensor:
        """(N, P, 5 or 15) of one stride: x0, y0, x1, y1, five points in px, score."""
        maps = list(out.values())[number :: len(self._strides)]
        stride = self._strides[number]
        score_NPA, sides_NPA = maps[0], maps[1] * stride
        place_PA = _places(self._size, stride, sides_NPA).repeat_interleave(self._num_anchors, 0) * stride
        parts = [place_PA - sides_NPA[..., :2], place_PA + sides_NPA[..., 2:]]
        if self._has_points:
            parts.append(place_PA.repeat(1, 5) + maps[2] * stride)
        return torch.cat([*parts, score_NPA], -1)


def _places(size: tuple[int, int], stride: int, like: Tensor) -> Tensor:
    """(P, 2): column and row of every place of the map of ``stride``, row by row."""
    rows = torch.arange(size[0] // stride, device=like.device, dtype=like.dtype)
    columns = torch.arange(size[1] // stride, device=like.device, dtype=like.dtype)
    return torch.stack([columns.repeat(len(rows)), rows.repeat_interleave(len(columns))], 1)
