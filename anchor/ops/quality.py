"""How good a picture of a face and a recording of speech are: pure functions on arrays.

Shape suffixes: H W pixels, C colour (RGB), L samples, F frames of 40 ms, K blocks of 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchor.timing import SAMPLE_RATE, SAMPLES_PER_FRAME

__all__ = [
    "SHARPNESS_PX",
    "SILENCE_DB",
    "Exposure",
    "clipped_share",
    "exposure",
    "frame_levels",
    "noise_level",
    "sharpness",
    "silence_share",
    "speech_level",
]

SHARPNESS_PX = 192  # side of the crop that sharpness is measured on, so that faces of every size compare
BLUR_PX = 5  # side of the mean that takes the fine detail away: 1/38 of a face, about the height of an eyelid
ROUNDING = 1.0  # grey levels squared: what rounding to 8 bits leaves of gradients where no detail is left
MARGIN = 0.1  # of the side, left out: beyond the picture a crop repeats its border
FACE_ROWS, FACE_COLUMNS = (0.2, 0.95), (0.2, 0.8)  # of a crop: forehead to chin without hair and background
DARK, BRIGHT = 16, 250  # luma at or beyond which nothing can be told apart: video black, and nearly white

SILENCE_DB = -45.0  # a 40 ms frame below this level is silent, relative to full scale
FLOOR_DB = -100.0  # digital silence
CLIP_LEVEL = 0.99  # a sample this large stands at full scale; codecs move it by a little
NOISE_SHARE = 0.1  # of the frames lie below what is called the noise

# ITU-T P.56, method B: the envelope's time constant, the time that speech is held active after the envelope fell, and
# how far the threshold of activity lies below the active level.
BLOCK_S, ENVELOPE_S, HANGOVER_S, MARGIN_DB = 0.01, 0.03, 0.2, 15.9
THRESHOLDS_DB = np.arange(-90.0, 0.5, 0.5)
PIECE = 6000  # blocks at once, a minute: an hour of sound needs no second copy


@dataclass(frozen=True)
class Exposure:
    """How bright the skin, eyes and lips of a face are."""

    luma: float  # mean, [0, 255]
    dark_share: float  # of the pixels, at or below luma 16
    bright_share: float  # at or above luma 250
    contrast: float  # standard deviation of the luma of the whole crop, in grey levels


def sharpness(face: np.ndarray) -> float:
    """The share of a face's gradient energy that a mean over 5 x 5 pixels takes away: 0 (flat, blurred) to 1 (noise).

    ``face`` is a uint8 RGB crop (H, W, 3) of ``SHARPNESS_PX``: bring every face to this size first. A ratio of two
    energies of one picture depends neither on its contrast nor on its brightness (the idea is that of Crete et al.
    2007, "The blur effect", who compare a picture with its blurred self). Noise and block edges count as detail.
    Faces in real clips, found by YuNet; as they are, with a Gaussian blur of the picture (sigma in px), and after
    scaling the picture down and up again (medians of six frames):

    ======  ======  =====  ======  =====  =====  =========  =====  =====  =====
    clip    height  as is  blur 1      2      4  scale .7      .5    .25    .15
    ======  ======  =====  ======  =====  =====  =========  =====  =====  =====
    p01     539 px    .61     .54    .42    .25        .60    .59    .50    .37
    p04     341 px    .72     .61    .44    .22        .69    .68    .53    .35
    p03     275 px    .60     .46    .29    .14        .55    .53    .36    .21
    p07     267 px    .73     .56    .33    .17        .67    .65    .41    .25
    g01     146 px    .44     .24    .13    .09        .33    .31    .18    .10
    ======  ======  =====  ======  =====  =====  =========  =====  =====  =====

    Below about .15 nothing is left but rounding, and the order means little.
    """
    luma_HW = _luma(face)
    soft_HW = cv2.blur(luma_HW, (BLUR_PX, BLUR_PX), borderType=cv2.BORDER_REPLICATE)
    edge_y, edge_x = round(MARGIN * luma_HW.shape[0]), round(MARGIN * luma_HW.shape[1])
    inside = slice(edge_y, luma_HW.shape[0] - edge_y), slice(edge_x, luma_HW.shape[1] - edge_x)
    energy, soft_energy = _gradient_energy(luma_HW[inside]), _gradient_energy(soft_HW[inside])
    return float(max(0.0, energy - soft_energy) / (energy + ROUNDING))


def exposure(face: np.ndarray) -> Exposure:
    """The brightness of the middle of a uint8 RGB crop (H, W, 3): skin, eyes and lips, as ITU-R BT.601 luma."""
    luma_HW = _luma(face)
    height, width = luma_HW.shape
    rows = slice(round(FACE_ROWS[0] * height), max(1, round(FACE_ROWS[1] * height)))
    columns = slice(round(FACE_COLUMNS[0] * width), max(1, round(FACE_COLUMNS[1] * width)))
    middle_HW = luma_HW[rows, columns]
    return Exposure(
        luma=float(middle_HW.mean()),
        dark_share=float((middle_HW <= DARK).mean()),
        bright_share=float((middle_HW >= BRIGHT).mean()),
        contrast=float(luma_HW.std()),
    )


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """The level of every whole 40 ms frame of 16 kHz sound (L,), in dB relative to full scale: float (F,)."""
    count = len(samples) // SAMPLES_PER_FRAME
    frames_FL = samples[: count * SAMPLES_PER_FRAME].reshape(count, SAMPLES_PER_FRAME)
    power_F = np.einsum("fl,fl->f", frames_FL, frames_FL, dtype=np.float64) / SAMPLES_PER_FRAME
    return 10 * np.log10(np.maximum(power_F, 10 ** (FLOOR_DB / 10)))


def silence_share(samples: np.ndarray, silent_db: float = SILENCE_DB) -> float:
    """The share of 40 ms frames of 16 kHz sound (L,) whose level is below ``silent_db``; 1.0 where there are none."""
    level_F = frame_levels(samples)
    return float((level_F < silent_db).mean()) if len(level_F) else 1.0


def noise_level(samples: np.ndarray) -> float:
    """The level that a tenth of the 40 ms frames stay below, in dB relative to full scale: the noise between words.

    Speech without any pause has no such frames: the number is then too high.
    """
    level_F = frame_levels(samples)
    return float(np.quantile(level_F, NOISE_SHARE)) if len(level_F) else FLOOR_DB


def speech_level(samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> tuple[float, float]:
    """The level of the speech while it is active, in dB relative to full scale, and the share of time it is active.

    After ITU-T P.56, method B: the energy of the whole sound (L,) is divided by the time in which its envelope (the
    mean magnitude, smoothed twice with 30 ms) stands above a threshold, or did in the last 0.2 s; the threshold is
    the one that lies 15.9 dB below the level so found. The envelope is taken every 10 ms. Pauses do not lower the
    level. A full-scale sine has -3 dB; silence has -100 dB and activity 0.
    """
    block = round(BLOCK_S * sample_rate)
    count = len(samples) // block
    energy = float(np.einsum("l,l->", samples, samples, dtype=np.float64))
    if not count or energy / len(samples) <= 10 ** (FLOOR_DB / 10):
        return FLOOR_DB, 0.0
    blocks_KL = samples[: count * block].reshape(count, block)
    pieces = [np.abs(blocks_KL[k : k + PIECE]).mean(1, dtype=np.float64) for k in range(0, count, PIECE)]
    envelope_K = _smooth(_smooth(np.concatenate(pieces)))
    above_db = np.inf
    level_db, share = 10 * np.log10(energy / len(samples)), 1.0
    for threshold_db in THRESHOLDS_DB:
        active = _held(envelope_K >= 10 ** (threshold_db / 20), round(HANGOVER_S / BLOCK_S))
        if not active:
            break
        level_db = 10 * np.log10(energy / (active / count * len(samples)))
        share = active / count
        above_db = level_db - threshold_db
        if above_db <= MARGIN_DB:
            break
    return float(level_db), float(share)


def clipped_share(samples: np.ndarray) -> float:
    """The share of samples, of any shape, at full scale, 0.99 or more; give them at the rate of the recording."""
    return float((np.abs(samples) >= CLIP_LEVEL).mean()) if samples.size else 0.0


def _luma(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _gradient_energy(luma_HW: np.ndarray) -> float:
    return float(np.square(np.diff(luma_HW, axis=0)).mean() + np.square(np.diff(luma_HW, axis=1)).mean())


def _smooth(values_K: np.ndarray) -> np.ndarray:
    """Exponential smoothing with the envelope's time constant."""
    keep = float(np.exp(-BLOCK_S / ENVELOPE_S))
    result_K, state = np.empty_like(values_K), 0.0
    for k, value in enumerate(values_K.tolist()):
        state = keep * state + (1 - keep) * value
        result_K[k] = state
    return result_K


def _held(is_above_K: np.ndarray, hold: int) -> int:
    """How many blocks are above, or had one above among the ``hold`` before."""
    numbers_K = np.arange(len(is_above_K))
    last_K = np.maximum.accumulate(np.where(is_above_K, numbers_K, -hold - 1))
    return int((numbers_K - last_K <= hold).sum())
