"""What chance decides about a window: its wrong speech, what may be its reference, its disguise.

Every draw comes from a generator seeded with (seed, epoch, clip, frame), so pixels depend neither on the number of
workers nor on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anchor.batch import ClipEntry
from anchor.ops.references import MIN_AWAY
from anchor.timing import MEL_FLOOR, WINDOW_FRAMES, window_centres

__all__ = ["Disguise", "NegativeMix", "disguise_mel", "disguise_pictures", "draw_candidates", "draw_negative"]


@dataclass(frozen=True)
class NegativeMix:
    """Where wrong speech comes from: shares that sum to one.

    A near one is 5 to 15 frames away and teaches timing, a far one is anywhere else in the clip, a foreign one
    belongs to another clip and teaches what is said. None overlaps the true window of five frames.
    """

    near: float = 0.5
    far: float = 0.3
    foreign: float = 0.2
    max_near_frames: int = 15


def draw_negative(
    rng: np.random.Generator,
    clips: Sequence[ClipEntry],
    clip: int,
    frame: int,
    mix: NegativeMix,
    frames: int = WINDOW_FRAMES,
) -> tuple[int, int]:
    """``(clip, centre frame)`` of speech that does not belong to the window: it is shifted by five frames or more.

    Where a clip is too short for the kind that was drawn, the next farther kind is taken; a lone clip that is too
    short for any yields silence far outside it.
    """
    kind = rng.choice(3, p=np.array([mix.near, mix.far, mix.foreign]) / (mix.near + mix.far + mix.foreign))
    distance = np.abs(np.arange(clips[clip].num_frames) - frame)
    apart = np.zeros(len(distance), bool)
    apart[list(window_centres(len(distance), frames))] = True
    apart &= distance >= WINDOW_FRAMES
    near = np.flatnonzero(apart & (distance <= mix.max_near_frames))
    far = np.flatnonzero(apart & (distance > mix.max_near_frames))
    if kind == 0 and len(near):
        return clip, int(rng.choice(near))
    if kind <= 1 and len(far):
        return clip, int(rng.choice(far))
    if len(clips) > 1:
        other = (clip + 1 + int(rng.integers(len(clips) - 1))) % len(clips)
        centres = window_centres(clips[other].num_frames, frames)
        return other, int(rng.integers(centres.start, max(centres.start + 1, centres.stop)))
    if len(near):
        return clip, int(rng.choice(near))
    return clip, clips[clip].num_frames + frames


def draw_candidates(rng: np.random.Generator, num_frames: int, frame: int, count: int) -> list[int]:
    """At most ``count`` frames of the same clip that may serve as reference, none twice.

    They are half a second away from the window's centre, as at inference, and never of the window itself; a clip too
    short for that offers its farther end.
    """
    frames = np.arange(num_frames)
    for away in (MIN_AWAY, WINDOW_FRAMES):
        apart = frames[np.abs(frames - frame) >= away]
        if len(apart):
            return [int(number) for number in rng.choice(apart, min(count, len(apart)), replace=False)]
    return [int(frames[-1] if frame < num_frames // 2 else 0)]


@dataclass(frozen=True)
class Disguise:
    """How much training windows may be changed, so that looks and voices matter less than mouths and sounds.

    Pictures: mirrored with probability ``mirror``; contrast and brightness varied with these standard deviations.
    Mel: loudness and tilt in mel units (12.5 dB each), bins stretched by up to ``warp`` as by a longer or shorter
    vocal tract (VTLP, Jaitly and Hinton 2013), and noise.
    """

    mirror: float = 0.5
    contrast: float = 0.12
    brightness: float = 0.1
    loudness: float = 0.3
    tilt: float = 0.3
    warp: float = 0.1
    noise: float = 0.15


def disguise_pictures(rng: np.random.Generator, pictures_NCHW: np.ndarray, disguise: Disguise) -> np.ndarray:
    """uint8 pictures of one window, all changed alike."""
    table = np.arange(256, dtype=np.float32) - 127.5
    table *= 1 + disguise.contrast * rng.standard_normal()
    table += 127.5 * (1 + disguise.brightness * rng.standard_normal())
    flat = cv2.LUT(pictures_NCHW.reshape(len(pictures_NCHW), -1), np.clip(np.rint(table), 0, 255).astype(np.uint8))
    pictures_NCHW = flat.reshape(pictures_NCHW.shape)
    if rng.random() < disguise.mirror:
        pictures_NCHW = pictures_NCHW[..., ::-1]
    return np.ascontiguousarray(pictures_NCHW)


def disguise_mel(rng: np.random.Generator, mel_SM: np.ndarray, disguise: Disguise) -> np.ndarray:
    """A log-mel (steps, 80) as another voice or microphone might have given it; silence stays near silence."""
    bins = mel_SM.shape[1]
    place = np.linspace(0, 1, bins, dtype=np.float32)
    source = np.clip(place * (1 + disguise.warp * rng.uniform(-1, 1)), 0, 1) * (bins - 1)
    low = np.minimum(source.astype(int), bins - 2)
    part = source - low
    warped_SM = mel_SM[:, low] * (1 - part) + mel_SM[:, low + 1] * part
    change_M = disguise.loudness * rng.standard_normal() + disguise.tilt * rng.standard_normal() * (2 * place - 1)
    noise_SM = disguise.noise * rng.standard_normal(mel_SM.shape, dtype=np.float32)
    return np.clip(warped_SM + change_M + noise_SM, MEL_FLOOR, -MEL_FLOOR).astype(np.float32)
