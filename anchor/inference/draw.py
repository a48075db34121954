"""The generator at work: crops and speech in, speaking crops out. Inference and evaluation both draw here.

Shape suffixes: N frames, S side of the crops in pixels, C colour (RGB), M mel bins; mel_SM: S mel steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anchor.models import stack_faces
from anchor.ops.images import to_bytes, to_signed
from anchor.timing import mel_window

__all__ = ["draw_frames"]


@torch.inference_mode()
def draw_frames(
    generator: nn.Module,
    crops_NSSC: np.ndarray,
    references_NSSC: np.ndarray,
    mel_SM: np.ndarray,
    frames: Sequence[int],
    batch_size: int = 16,
) -> np.ndarray:
    """uint8 (N, S, S, 3): the crops with their lower half redrawn for the speech.

    Args:
        generator: in eval mode, on the device that is to compute; its ``image_size`` is S.
        crops_NSSC: uint8 RGB faces; only their upper halves are looked at.
        references_NSSC: uint8 RGB faces of the same person for each crop, as many as the generator takes, laid by
            :func:`anchor.ops.references.lay_references`: (N, S, S, 3 R).
        mel_SM: log-mel of the whole speech, (steps, 80).
        frames: for each crop, the frame of the speech at 25 fps that it is to speak.
        batch_size: how many frames the device computes at once.
    """
    assert crops_NSSC.shape[:3] == references_NSSC.shape[:3], "references for each crop"
    assert len(crops_NSSC) == len(frames), "one frame a crop"
    device = next(generator.parameters(), torch.zeros(())).device
    drawn_NSSC = crops_NSSC.copy()
    half = crops_NSSC.shape[1] // 2
    for begin in range(0, len(frames), batch_size):
        part = slice(begin, begin + batch_size)
        mels_N1MS = torch.from_numpy(np.stack([mel_window(mel_SM, int(frame)) for frame in frames[part]])[:, None])
        stack_N6HW = stack_faces(_signed(crops_NSSC[part], device), _signed(references_NSSC[part], device))
        mouths_N3hW = generator(stack_N6HW, mels_N1MS.to(device))
        drawn_NSSC[part, half:] = to_bytes(mouths_N3hW).permute(0, 2, 3, 1).cpu().numpy()
    return drawn_NSSC


def _signed(pictures_NHWC: np.ndarray, device: torch.device) -> Tensor:
    """uint8 pictures (N, H, W, C) as floats (N, C, H, W) in [-1, 1]; bytes travel to the device."""
    return to_signed(torch.from_numpy(pictures_NHWC.copy()).to(device).permute(0, 3, 1, 2))
