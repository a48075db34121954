"""From timed phonemes to a moving mouth.

Every phoneme asks for a mouth shape; neighbours blend into each other as in real speech (co-articulation), and lips
that must meet (p, b, m) meet. Shape suffixes: T frames, K steps of the inner clock, C the five channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anchor.speech.espeak import Phoneme

__all__ = ["MOUTH_CHANNELS", "MouthShape", "is_closure", "is_pause", "mouth_shapes", "mouth_track"]

STEPS_PER_SECOND = 200  # the inner clock, 5 ms
COARTICULATION_FWHM_S = 0.070  # how far a shape reaches into its neighbours
CLOSURE_FWHM_S = 0.038  # lips close and part faster than the jaw moves
CLOSURE_GAIN = 1.25  # a p of 50 ms still closes fully ...
CLOSURE_MIN_S = 0.050  # ... and none closes for less
FWHM_PER_SIGMA = 2.3548
DIPHTHONG_TURN = 0.6  # share of a diphthong spent on its first vowel
HELD_SHARE = 0.7  # how much of a shape stays through a syllable boundary


class MouthShape(NamedTuple):
    """A mouth; each value lies in [0, 1]."""

    opening: float  # distance of the lips
    spread: float = 0.0  # corners pulled apart, as in "ee"
    round: float = 0.0  # corners drawn together, as in "oo"
    teeth: float = 0.0  # visible upper teeth
    tongue: float = 0.0  # visible tongue


MOUTH_CHANNELS = MouthShape._fields
REST = MouthShape(0.02)

# The shapes, named by a phoneme that has it. Values are by eye, after the usual viseme charts.
SHAPES = {
    "p": MouthShape(0.0, spread=0.1, round=0.1),
    "f": MouthShape(0.13, spread=0.15, teeth=1.0),
    "th": MouthShape(0.22, spread=0.2, teeth=0.8, tongue=1.0),
    "t": MouthShape(0.22, spread=0.3, teeth=0.9, tongue=0.5),
    "s": MouthShape(0.17, spread=0.5, teeth=1.0, tongue=0.1),
    "sh": MouthShape(0.25, round=0.65, teeth=1.0),
    "k": MouthShape(0.36, spread=0.2, teeth=0.4, tongue=0.1),
    "r": MouthShape(0.25, round=0.55, teeth=0.3, tongue=0.3),
    "w": MouthShape(0.12, round=1.0),
    "j": MouthShape(0.25, spread=0.6, teeth=0.8, tongue=0.1),
    "l": MouthShape(0.35, spread=0.2, teeth=0.5, tongue=0.9),
    "a": MouthShape(0.95, spread=0.25, teeth=0.6, tongue=0.3),
    "ah": MouthShape(1.0, round=0.05, teeth=0.4, tongue=0.3),
    "uh": MouthShape(0.68, spread=0.15, teeth=0.5, tongue=0.3),
    "eh": MouthShape(0.6, spread=0.45, teeth=0.7, tongue=0.3),
    "e": MouthShape(0.48, spread=0.65, teeth=0.8, tongue=0.2),
    "ee": MouthShape(0.24, spread=1.0, teeth=0.9, tongue=0.1),
    "ih": MouthShape(0.34, spread=0.6, teeth=0.8, tongue=0.2),
    "aw": MouthShape(0.68, round=0.6, teeth=0.1, tongue=0.2),
    "o": MouthShape(0.5, round=0.85, teeth=0.1, tongue=0.1),
    "ou": MouthShape(0.3, round=0.8, teeth=0.1, tongue=0.1),
    "oo": MouthShape(0.2, round=1.0),
    "er": MouthShape(0.4, spread=0.05, round=0.3, teeth=0.4, tongue=0.3),
    "schwa": MouthShape(0.36, spread=0.15, teeth=0.4, tongue=0.2),
}

# espeak's names of English and Mandarin phonemes, without stress marks; the longest that fits is taken.
PHONEMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("p", "b", "m"), ("p",)),
    **dict.fromkeys(("f", "v"), ("f",)),
    **dict.fromkeys(("T", "D"), ("th",)),
    **dict.fromkeys(("t", "d", "n"), ("t",)),
    **dict.fromkeys(("s", "z", "ts", "dz"), ("s",)),
    **dict.fromkeys(("S", "Z", "tS", "dZ", "S;", "tS;", "s.", "ts.", "z."), ("sh",)),
    **dict.fromkeys(("k", "g", "N", "h", "x", "X", "c", "q", "C", "?"), ("k",)),
    **dict.fromkeys(("r", "r-", "R"), ("r",)),
    **dict.fromkeys(("w", "W"), ("w",)),
    **dict.fromkeys(("j", ";"), ("j",)),
    **dict.fromkeys(("l", "L"), ("l",)),
    **dict.fromkeys(("a", "aa", "&"), ("a",)),
    **dict.fromkeys(("A", "A:", "A@"), ("ah",)),
    **dict.fromkeys(("V", "VR"), ("uh",)),
    "E": ("eh",),
    "e": ("e",),
    **dict.fromkeys(("i", "i:", "i["), ("ee",)),
    **dict.fromkeys(("I", "IR", "i."), ("ih",)),
    **dict.fromkeys(("O", "O:", "O@", "0", "Q"), ("aw",)),
    **dict.fromkeys(("o", "o@", "o-"), ("o",)),
    "U": ("ou",),
    **dict.fromkeys(("u", "u:", "y", "Y"), ("oo",)),
    **dict.fromkeys(("3", "3:", "@r"), ("er",)),
    **dict.fromkeys(("@", "a#", "I#", "@2"), ("schwa",)),
    "@L": ("schwa", "l"),
    **dict.fromkeys(("aI", "ai"), ("a", "ih")),
    **dict.fromkeys(("aU", "AU", "Au", "au"), ("ah", "ou")),
    **dict.fromkeys(("eI", "ei"), ("e", "ih")),
    **dict.fromkeys(("OI", "oi"), ("aw", "ih")),
    **dict.fromkeys(("oU", "ou"), ("o", "ou")),
    **dict.fromkeys(("iE", "ie"), ("ee", "eh")),
    **dict.fromkeys(("iA", "ia"), ("ee", "ah")),
    **dict.fromkeys(("iou", "iu"), ("ee", "ou")),
    **dict.fromkeys(("uei", "ui"), ("oo", "ih")),
    **dict.fromkeys(("uo", "uO"), ("oo", "o")),
    **dict.fromkeys(("ua", "uA"), ("oo", "ah")),
    "uai": ("oo", "a", "ih"),
    **dict.fromkeys(("yE", "y&"), ("oo", "eh")),
    **dict.fromkeys(("i@", "i@3"), ("ee", "schwa")),
    "e@": ("e", "schwa"),
    **dict.fromkeys(("u@", "U@"), ("oo", "schwa")),
    "ong": ("o", "k"),
}
LONGEST_NAME = max(map(len, PHONEMES))
STRESS_MARKS = "',%=|"
HOLD = "_|"  # espeak's mark between Mandarin syllables: the mouth stays nearly as it is


def mouth_track(phonemes: Sequence[Phoneme], duration_s: float, times_s: np.ndarray) -> np.ndarray:
    """The mouth at ``times_s``: float32 (T, 5) in [0, 1]; the channels are ``MOUTH_CHANNELS``.

    ``phonemes`` are espeak's names with their start in seconds, in order; the last one lasts until ``duration_s``.
    Before the first, and at times outside the speech, the mouth rests.
    """
    num_steps = round((duration_s + 1.0) * STEPS_PER_SECOND)  # a second of rest at the end
    shapes_KC = np.tile(np.array(REST, np.float32), (num_steps, 1))
    closures_K1 = np.zeros((num_steps, 1), np.float32)
    ends_s = [start_s for _, start_s in phonemes[1:]] + [duration_s]
    last_shape = REST
    for (name, start_s), end_s in zip(phonemes, ends_s, strict=True):
        start, stop = round(start_s * STEPS_PER_SECOND), round(end_s * STEPS_PER_SECOND)
        if name == HOLD:
            shapes_KC[start:stop] = HELD_SHARE * np.array(last_shape)
            continue
        shapes = mouth_shapes(name)
        turns = np.linspace(start, stop, len(shapes) + 1)
        if len(shapes) == 2:
            turns[1] = start + DIPHTHONG_TURN * (stop - start)
        for shape, first, last in zip(shapes, turns[:-1], turns[1:], strict=True):
            shapes_KC[round(first) : round(last)] = shape
        if is_closure(name):
            spare = max(0, round(CLOSURE_MIN_S * STEPS_PER_SECOND) - (stop - start) + 1) // 2
            closures_K1[max(0, start - spare) : stop + spare] = 1.0
        last_shape = shapes[-1]
    track_KC = _smooth(shapes_KC, COARTICULATION_FWHM_S)
    track_KC[:, :1] *= 1.0 - np.clip(CLOSURE_GAIN * _smooth(closures_K1, CLOSURE_FWHM_S), 0.0, 1.0)
    steps_T = np.asarray(times_s, np.float64) * STEPS_PER_SECOND
    track_TC = np.stack(
        [
            np.interp(steps_T, np.arange(num_steps), track_K, left=rest, right=rest)
            for track_K, rest in zip(track_KC.T, REST, strict=True)
        ],
        axis=1,
    )
    return np.clip(track_TC, 0.0, 1.0).astype(np.float32)


def mouth_shapes(name: str) -> list[MouthShape]:
    """The mouth shapes a phoneme passes through; an unknown phoneme is a half-open mouth."""
    if is_pause(name):
        return [REST]
    bare = name.lstrip(STRESS_MARKS)
    for length in range(min(LONGEST_NAME, len(bare)), 0, -1):
        if bare[:length] in PHONEMES:
            return [SHAPES[shape] for shape in PHONEMES[bare[:length]]]
    return [SHAPES["schwa"]]


def is_closure(name: str) -> bool:
    """Whether the lips meet in this phoneme: p, b or m."""
    return name.lstrip(STRESS_MARKS)[:1] in ("p", "b", "m")


def is_pause(name: str) -> bool:
    """Whether this phoneme is silence."""
    return name.lstrip(STRESS_MARKS)[:1] in ("", "_") and name != HOLD


def _smooth(values_KC: np.ndarray, fwhm_s: float) -> np.ndarray:
    """Each column blurred by a Gaussian of that full width at half maximum."""
    sigma = fwhm_s / FWHM_PER_SIGMA * STEPS_PER_SECOND  # steps
    radius = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded_KC = np.pad(values_KC, ((radius, radius), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded_KC.T], axis=1)
