"""A ruler for mouths: a small network that reads from a picture how far the mouth is open.

It learns from real training frames whose opening is known, and never sees a generated one; how well it reads real
frames of held-out people stands beside every score it gives. Shape suffixes: N pictures, C colour, h W lower half.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchor.batch import ClipEntry, ClipSource
from anchor.device import cpu_computes_bfloat16
from anchor.evaluation.clips import read_opening
from anchor.inference import show_progress
from anchor.models.blocks import ConvBlock

__all__ = ["OpeningReader", "read_openings", "teach_reader"]

SIZE = 96  # px, what faces are reduced to
MAX_CLIPS, MAX_FRAMES = 240, 12_000  # of training material: 170 MB of lower halves
BATCH = 96
MIN_CLIPS = 2


class OpeningReader(nn.Sequential):
    """Lower halves (N, 3, 48, 96) in [-1, 1] to the opening (N,)."""

    def __init__(self) -> None:
        super().__init__(
            ConvBlock(3, 16, 5, 2),
            ConvBlock(16, 32, 3, 2),
            ConvBlock(32, 48, 3, 2),
            ConvBlock(48, 48, 3, 2),
            nn.Flatten(),
            nn.Linear(48 * 18, 1),
            nn.Flatten(0),
        )


def teach_reader(source: ClipSource, steps: int, seed: int, device: torch.device) -> OpeningReader | None:
    """A reader taught on the training split; None where fewer than two of its clips know the truth, or steps is 0.

    A number of steps, not of seconds: the same seed gives the same ruler on a machine of any speed, up to rounding: it
    is taught in bfloat16 where the processor has it.
    """
    known = [clip for clip in source.clips if clip.split == "train"]
    rng = np.random.default_rng(seed)
    known = [known[i] for i in rng.permutation(len(known))[:MAX_CLIPS]]
    openings = {clip.key: read_opening(source, clip) for clip in known}
    known = [clip for clip in known if openings[clip.key] is not None]
    if len(known) < MIN_CLIPS or steps <= 0:
        return None
    mouths_NhWC, truth_N = _collect(source, known, [openings[clip.key] for clip in known])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = OpeningReader().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    in_half = device.type == "cpu" and cpu_computes_bfloat16()
    for step in show_progress(range(steps), steps, "teach the reader of openings", "steps"):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * (1.02 - step / steps)
        chosen = rng.integers(len(truth_N), size=BATCH)
        mouths_N3hW = _to_floats(mouths_NhWC[chosen], device)
        if rng.random() < 0.5:
            mouths_N3hW = mouths_N3hW.flip(-1)
        mouths_N3hW = mouths_N3hW * (1 + 0.1 * rng.standard_normal()) + 0.08 * rng.standard_normal()
        with torch.autocast(device.type, torch.bfloat16, enabled=in_half):
            read_N = reader(mouths_N3hW)
        loss = F.l1_loss(read_N.float(), torch.from_numpy(truth_N[chosen]).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return reader.eval()


@torch.inference_mode()
def read_openings(reader: nn.Module, faces_TSSC: np.ndarray) -> np.ndarray:
    """float32 (T,): the opening that ``reader`` sees in uint8 RGB faces."""
    device = next(reader.parameters(), torch.zeros(())).device
    parts = [faces_TSSC[i : i + 128] for i in range(0, len(faces_TSSC), 128)]
    return np.concatenate(
        [reader(_to_floats(np.stack([_mouth(f) for f in part]), device)).cpu().numpy() for part in parts]
    )


def _collect(
    source: ClipSource, clips: Sequence[ClipEntry], openings: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Lower halves uint8 (N, 48, 96, 3) and their openings float32 (N,), evenly from all clips."""
    stride = max(1, -(-sum(clip.num_frames for clip in clips) // MAX_FRAMES))
    mouths, truth = [], []
    for clip, opening_T in show_progress(
        list(zip(clips, openings, strict=True)), len(clips), "read its clips", "clips"
    ):
        assert opening_T is not None
        numbers = range(0, clip.num_frames, stride)
        mouths += [_mouth(face) for face in source.read_frames(clip, numbers)]
        truth += [opening_T[number] for number in numbers]
    return np.stack(mouths), np.array(truth, np.float32)


def _mouth(face_SSC: np.ndarray) -> np.ndarray:
    """The lower half at 48 x 96, uint8."""
    mouth = face_SSC[face_SSC.shape[0] // 2 :]
    if mouth.shape[1] == SIZE:
        return mouth
    return cv2.resize(
        mouth, (SIZE, SIZE // 2), interpolation=cv2.INTER_AREA if mouth.shape[1] > SIZE else cv2.INTER_CUBIC
    )


def _to_floats(mouths_NhWC: np.ndarray, device: torch.device) -> Tensor:
    return (
        torch.from_numpy(np.ascontiguousarray(mouths_NhWC)).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    )
