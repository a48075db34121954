"""Faces laid upright: eyes and mouth at canonical places of the crop, steadily over time, and back again.

A transform is six numbers, the matrix [[a, b, c], [d, e, f]] that takes x and y of the frame to x and y of the crop,
both in px where pixel i covers [i, i + 1). It is a turn, a zoom and a shift, and then the stretch to a square that
every crop has (see `anchor.faces.crop`). Shape suffixes: D detections, T frames, 23 a transform, 5 points, 2 x and y.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from anchor.errors import FaceError
from anchor.faces import FaceTrack, TrackSettings
from anchor.faces.face import ASPECT
from anchor.faces.smooth import fill_boxes
from anchor.preprocess.cleaning.points import FacePoints

__all__ = ["align_track", "crop_aligned", "paste_aligned"]

# Eyes and mouth corners in the canonical box, in units of its height: medians over 19 real clips, made symmetric. The
# nose is left out, because it moves sideways when the head turns.
CENTRE = complex(ASPECT / 2, 0.5)
PLACES = np.array([complex(0.239, 0.384), complex(0.581, 0.384), complex(0.263, 0.733), complex(0.557, 0.733)])
POINTS = (0, 1, 3, 4)
TURN_SIGMA = 6.0  # frames of the Gaussian on the angle: slower than a nod, faster than a head that leans


def align_track(
    track: FaceTrack, points: FacePoints, size: int, settings: TrackSettings | None = None
) -> tuple[FaceTrack, np.ndarray]:
    """``track`` with the upright boxes around the aligned faces, and the transforms float64 (T, 2, 3) to ``size`` px.

    Both are NaN where there is no face; a stretch of the track in which no points were found is taken out of it.
    """
    settings = settings or TrackSettings()
    boxes_T4, ids_T = np.full_like(track.boxes, np.nan), np.full_like(track.ids, -1)
    matrices_T23 = np.full((len(track.ids), 2, 3), np.nan)
    places_D, turns_D = _fit(points.points_D52)
    for number in np.unique(track.ids[track.ids >= 0]):
        span = np.flatnonzero(track.ids == number)
        is_own_D = track.ids[points.frames_D] == number
        if not is_own_D.any():
            continue
        frames_D = points.frames_D[is_own_D]
        centre_D, turn_D = places_D[is_own_D], turns_D[is_own_D]
        half_D = np.stack([np.abs(turn_D) * ASPECT / 2, np.abs(turn_D) / 2], 1)
        centre_D2 = np.stack([centre_D.real, centre_D.imag], 1)
        found_D4 = np.concatenate([centre_D2 - half_D, centre_D2 + half_D], 1)
        angle_D4 = np.repeat(np.unwrap(np.angle(turn_D))[:, None], 4, axis=1)
        at = np.clip(span - frames_D[0], 0, frames_D[-1] - frames_D[0])
        boxes_T4[span] = fill_boxes(frames_D, found_D4, settings.centre_sigma, settings.size_sigma)[at]
        angle_T = fill_boxes(frames_D, angle_D4, TURN_SIGMA, TURN_SIGMA)[at, 0].astype(np.float64)
        ids_T[span] = number
        matrices_T23[span] = _matrices(boxes_T4[span].astype(np.float64), angle_T, size)
    return FaceTrack(boxes_T4, ids_T, track.hit_rate), matrices_T23


def crop_aligned(frame: np.ndarray, transform_23: np.ndarray, size: int) -> np.ndarray:
    """The aligned face in a uint8 RGB frame (H, W, 3) as uint8 (size, size, 3), anti-aliased where it shrinks.

    Raises:
        FaceError: the transform is not finite.
    """
    back = _inverse(transform_23)
    step = max(math.hypot(back[0, 0], back[1, 0]), math.hypot(back[0, 1], back[1, 1]))  # frame px per crop px
    over = max(1, math.ceil(step - 1e-6))
    fine = cv2.warpAffine(
        frame, _at_centres(back, over), (size * over, size * over),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return fine if over == 1 else cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)


def paste_aligned(
    frame: np.ndarray, transform_23: np.ndarray, crop: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """A copy of ``frame`` with an aligned ``crop`` (uint8 (size, size, 3)) laid back: the inverse of `crop_aligned`.

    ``mask`` is alpha, float (size, size) in [0, 1], in the crop's own pixels; None covers the whole crop.

    Raises:
        FaceError: the transform is not finite, or crop and mask differ in size.
    """
    if mask is not None and mask.shape != crop.shape[:2]:
        raise FaceError(f"A mask of {mask.shape} does not cover a crop of {crop.shape[:2]}. Give them one size.")
    _inverse(transform_23)  # refuses what cannot be
    alpha = np.ones(crop.shape[:2], np.float32) if mask is None else np.clip(mask, 0, 1).astype(np.float32)
    matrix = np.array(transform_23, np.float64).reshape(2, 3)
    step = math.floor(max(np.linalg.norm(matrix[:, :2], axis=0)) + 1e-6)  # crop px per frame px
    if step > 1:  # anti-aliased: a crop of about the size that it has in the frame
        small = tuple(max(1, side // step) for side in crop.shape[1::-1])
        matrix *= np.divide(small, crop.shape[1::-1])[:, None]
        crop, alpha = (cv2.resize(one, small, interpolation=cv2.INTER_AREA) for one in (crop, alpha))
    place = _at_centres(matrix, 1)
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, frame.shape[1::-1]
    picture = cv2.warpAffine(crop, place, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    alpha_HW1 = cv2.warpAffine(alpha, place, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)[..., None]
    return np.rint(frame + alpha_HW1 * (picture - frame)).astype(np.uint8)


def _fit(points_D52: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The similarity that takes the canonical places nearest to the points, as complex numbers.

    Where the middle of the canonical box comes to lie, and the zoom (px per height of the box) and turn.
    """
    found_DP = points_D52[:, POINTS, 0].astype(np.float64) + 1j * points_D52[:, POINTS, 1]
    middle_D, place = found_DP.mean(1), PLACES.mean()
    turn_D = ((found_DP - middle_D[:, None]) * np.conj(PLACES - place)).sum(1) / (np.abs(PLACES - place) ** 2).sum()
    return middle_D + turn_D * (CENTRE - place), turn_D


def _matrices(boxes_T4: np.ndarray, angle_T: np.ndarray, size: int) -> np.ndarray:
    """The transforms (T, 2, 3) to crops of ``size`` px of boxes that are turned by these angles about their middle."""
    x_T, y_T = (boxes_T4[:, 0] + boxes_T4[:, 2]) / 2, (boxes_T4[:, 1] + boxes_T4[:, 3]) / 2
    scale_T2 = size / (boxes_T4[:, 2:] - boxes_T4[:, :2])
    cos_T, sin_T = np.cos(angle_T), np.sin(angle_T)
    matrices_T23 = np.empty((len(boxes_T4), 2, 3))
    matrices_T23[:, 0, :2] = scale_T2[:, :1] * np.stack([cos_T, sin_T], 1)
    matrices_T23[:, 1, :2] = scale_T2[:, 1:] * np.stack([-sin_T, cos_T], 1)
    matrices_T23[:, :, 2] = size / 2 - np.einsum("tij,tj->ti", matrices_T23[:, :, :2], np.stack([x_T, y_T], 1))
    return matrices_T23


def _inverse(transform_23: np.ndarray) -> np.ndarray:
    matrix = np.asarray(transform_23, np.float64).reshape(2, 3)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-9:
        raise FaceError("The face of this frame has no transform. Leave the frame out.")
    return cv2.invertAffineTransform(matrix)


def _at_centres(back_23: np.ndarray, over: int) -> np.ndarray:
    """The matrix for OpenCV, which counts from the middle of a pixel; ``over`` pixels stand for one."""
    result = back_23.copy()
    result[:, :2] /= over
    result[:, 2] += 0.5 * result[:, :2].sum(1) - 0.5
    return result
