"""LSE-D, LSE-C and the offset of the original SyncNet, as its authors' scorer computes them.

Shape suffixes: T frames, N windows of five frames, S side in pixels, C colour, L samples, D embedding, K shifts (31).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anchor.faces.face import ASPECT
from anchor.models.original_syncnet import FRAMES, SIDE, STEPS, OriginalSyncNet
from anchor.ops.mfcc import MFCC_STEPS_PER_SECOND, mfcc
from anchor.timing import FPS

__all__ = ["LipSyncError", "distance_curve", "score_lse", "score_original"]

MAX_SHIFT = 15  # frames on either side
BATCH = 20  # windows
FACE_SHARE = 1 / 1.4  # of the crop's height that the face's box fills: the authors widen it by 0.4 of its height
FILL = 110  # grey beyond the picture, theirs


@dataclass(frozen=True)
class LipSyncError:
    """The original's opinion of one clip."""

    lse_d: float  # distance at the best shift: the smaller the better
    lse_c: float  # median distance over the shifts minus the smallest: the larger the better
    offset_frames: int  # above 0 the sound is late, as everywhere in Anchor


def score_lse(net: OriginalSyncNet, faces_TSSC: np.ndarray, audio_L: np.ndarray) -> LipSyncError | None:
    """LSE of successive uint8 RGB canonical crops and their sound from the first frame on; None below 12 frames.

    The face is laid into the authors' frame (box plus 0.4 of its height on the sides and below), filled with their grey
    where our crops end: values compare with those of other pictures through this function, not with papers.
    """
    device = next(net.parameters()).device
    cepstra_FM = mfcc(audio_L)
    steps_per_frame = MFCC_STEPS_PER_SECOND // FPS
    count = min(len(faces_TSSC) - FRAMES + 1, (len(cepstra_FM) - STEPS) // steps_per_frame + 1)
    if count < 8:
        return None
    frames_TSSC = np.stack([_as_authors(face) for face in faces_TSSC[: count + FRAMES - 1]])
    mouths, speeches = [], []
    with torch.inference_mode():
        for begin in range(0, count, BATCH):
            numbers = range(begin, min(begin + BATCH, count))
            windows = torch.from_numpy(np.stack([frames_TSSC[i : i + FRAMES] for i in numbers])).to(device)
            mouths.append(net.embed_mouths(windows.permute(0, 4, 1, 2, 3).float()).cpu())
            heard = np.stack([cepstra_FM[steps_per_frame * i : steps_per_frame * i + STEPS].T for i in numbers])
            speeches.append(net.embed_speech(torch.from_numpy(heard)[:, None].float().to(device)).cpu())
    return score_original(distance_curve(torch.cat(mouths), torch.cat(speeches)))


def distance_curve(mouth_ND: Tensor, speech_ND: Tensor) -> Tensor:
    """Mean distance (K,) of each mouth to the speech ``k - 15`` frames later; beyond the clip the speech is zeros.

    The distance is torch's ``pairwise_distance``, with its 1e-6.
    """
    padded_ND = F.pad(speech_ND, (0, 0, MAX_SHIFT, MAX_SHIFT))
    shifted = [padded_ND[k : k + len(mouth_ND)] for k in range(2 * MAX_SHIFT + 1)]
    return torch.stack([F.pairwise_distance(mouth_ND, speech).mean() for speech in shifted])


def score_original(curve_K: Tensor) -> LipSyncError:
    """The three numbers of a curve of distances. The authors count the offset the other way round."""
    best = int(curve_K.argmin())
    smallest = float(curve_K[best])
    return LipSyncError(smallest, float(curve_K.median()) - smallest, best - MAX_SHIFT)


def _as_authors(face_SSC: np.ndarray) -> np.ndarray:
    """A canonical crop (S, S, 3) as it lies in the authors' frame: uint8 BGR (224, 224, 3)."""
    height = round(SIDE * FACE_SHARE)
    width = round(height * ASPECT)
    how = cv2.INTER_AREA if face_SSC.shape[0] > height else cv2.INTER_CUBIC
    picture = np.full((SIDE, SIDE, 3), FILL, np.uint8)
    left = (SIDE - width) // 2
    picture[:height, left : left + width] = cv2.resize(face_SSC, (width, height), interpolation=how)[..., ::-1]
    return picture
