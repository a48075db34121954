"""An avatar speaks: pictures of its clips with the mouths of a speech, and at rest where nothing is said.

Shape suffixes: N frames, S side of the crops in pixels; mel_SM: S mel steps, M mel bins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import nn

from anchor.avatars import Avatar
from anchor.inference.draw import draw_frames
from anchor.inference.paste import paste_mouth
from anchor.preprocess.sound import SILENCE_DB, frame_levels_db

__all__ = ["perform", "voice_presence"]

BEFORE, AFTER = 3, 5  # frames: lips part before they are heard, and meet after
FADE = 3  # frames from rest to speech
BATCH = 16


def voice_presence(samples: np.ndarray, num_out: int) -> np.ndarray:
    """float32 (num_out,) in [0, 1]: 1 where 16 kHz speech is heard, 0 in silence, a ramp between."""
    loud = np.zeros(num_out, bool)
    levels = frame_levels_db(samples)[:num_out]
    loud[: len(levels)] = levels >= SILENCE_DB
    wide = np.zeros(num_out + 2 * FADE, bool)
    for shift in range(-BEFORE, AFTER + 1):
        wide[FADE : num_out + FADE] |= np.roll(np.pad(loud, AFTER), shift)[AFTER : num_out + AFTER]
    return np.convolve(wide.astype(np.float32), np.ones(2 * FADE + 1) / (2 * FADE + 1), "valid").astype(np.float32)


def perform(
    avatar: Avatar, net: nn.Module, samples: np.ndarray, mel_SM: np.ndarray, num_out: int
) -> Iterator[np.ndarray]:
    """``num_out`` pictures, uint8 RGB (H, W, 3), of ``avatar`` speaking 16 kHz ``samples``."""
    clip = avatar.speaking
    order_N, voice_N = clip.order(num_out), voice_presence(samples, num_out)
    for begin in range(0, num_out, BATCH):
        batch = range(begin, min(begin + BATCH, num_out))
        said = [n for n in batch if voice_N[n] * clip.faces.presence[order_N[n]] > 0]
        drawn_NSSC = np.zeros((0, 1, 1, 3), np.uint8)
        if said:
            crops_NSSC = np.stack([clip.faces.crop(int(order_N[n])) for n in said])
            references_NSSC = np.stack([clip.faces.reference(int(order_N[n])) for n in said])
            drawn_NSSC = draw_frames(net, crops_NSSC, references_NSSC, mel_SM, said, BATCH)
        for n in batch:
            source = int(order_N[n])
            rest = clip.rest_pictures[source] if voice_N[n] < 1 or n not in said else None
            if n not in said:
                assert rest is not None
                yield rest
                continue
            box, presence = clip.faces.boxes[source], float(clip.faces.presence[source])
            place = said.index(n)
            picture = paste_mouth(clip.pictures[source], box, drawn_NSSC[place], crops_NSSC[place], presence)
            if rest is not None:
                left, top, right, bottom = clip.faces.regions[source]
                mouth, closed = picture[top:bottom, left:right], rest[top:bottom, left:right]
                mouth[:] = np.rint(closed + voice_N[n] * (mouth.astype(np.float32) - closed)).astype(np.uint8)
            yield picture
