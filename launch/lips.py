"""The reader of one person's lips that the fine-tune's landmark term looks through: fitted before the first step."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from anchor.batch import ClipSource, select
from anchor.errors import ConfigError
from anchor.evaluation.clips import resized
from anchor.evaluation.marks import mark_mouths
from anchor.faces.landmarks import LandmarkName, make_landmarks
from anchor.metrics import correlation
from anchor.models.lips import LipReader, fit_lip_reader
from anchor.ops.images import lower_half, to_signed

__all__ = ["teach_lips"]

MAX_FRAMES = 300  # of the material, evenly: some seconds of marking
MIN_FRAMES = 50
ASIDE = 5  # every how-manieth part of the material is kept aside, once, to see how well lips are read
MEASURES = ("opening", "width", "height")


def teach_lips(source: ClipSource, landmarks: LandmarkName, image_size: int) -> LipReader:
    """A reader of the lips in the training frames of ``source``, as ``landmarks`` mark them; the same on every rank.

    It says on stderr how well it reads the last fifth of them when it has learnt from the others; then it learns from
    all.

    Raises:
        ConfigError: there are no landmarks here, or they find the lips in too few frames.
        FaceError: the backend asked for is not on this machine.
    """
    backend = make_landmarks(landmarks)
    if backend.name == "none":
        raise ConfigError(
            f"module.landmark_weight needs landmarks, and module.landmarks={landmarks} has none here. "
            "Fetch a model (`anchor models fetch`), name another backend, or set module.landmark_weight=0."
        )
    faces_NSSC = _some_faces(source, image_size)
    shown = len(faces_NSSC)
    track = mark_mouths(backend, faces_NSSC)
    lips_NK = np.zeros((0, len(MEASURES)))
    if track is not None:
        # Width and height of both lips: the same in the mirror, and enough for a mouth that opens, spreads and purses.
        lips_NK = np.concatenate([track.opening_T[:, None], np.ptp(track.points_TP2, axis=1)], 1)
        known_N = np.isfinite(lips_NK).all(1)
        faces_NSSC, lips_NK = faces_NSSC[known_N], lips_NK[known_N]
    if len(lips_NK) < MIN_FRAMES:
        raise ConfigError(
            f"module.landmarks={backend.name} sees lips in {len(lips_NK)} of {shown} frames, and their "
            f"reader needs {MIN_FRAMES}. Give more material, name another backend, or set module.landmark_weight=0."
        )
    half_NChW = lower_half(to_signed(torch.from_numpy(faces_NSSC).permute(0, 3, 1, 2)))
    lips = torch.from_numpy(lips_NK)
    print(
        f"lips: {len(lips)} frames marked by {backend.name}; {_try_out(half_NChW, lips)}", file=sys.stderr, flush=True
    )
    return fit_lip_reader(half_NChW, lips)


def _some_faces(source: ClipSource, image_size: int) -> np.ndarray:
    """Training frames, uint8 RGB (N, S, S, 3), evenly over the material."""
    clips = select(source.clips, "train")
    stride = max(1, -(-sum(clip.num_frames for clip in clips) // MAX_FRAMES))
    faces = [source.read_frames(clip, range(0, clip.num_frames, stride)) for clip in clips]
    return resized(np.concatenate(faces), image_size)


def _try_out(half_NChW: Tensor, lips_NK: Tensor) -> str:
    """How well the last part is read by one who has learnt from the others."""
    kept = len(lips_NK) // ASIDE
    read_NK = fit_lip_reader(half_NChW[:-kept], lips_NK[:-kept])(half_NChW[-kept:])
    found = [
        f"{name} r {correlation(read, lips):.2f}"
        for name, read, lips in zip(MEASURES, read_NK.T, lips_NK[-kept:].T, strict=True)
    ]
    return f"of the last {kept}, kept aside, it reads " + ", ".join(found)
