"""How a head moves through a clip. Units are picture units and seconds; shape suffix: T frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["OUT_OF_PICTURE", "Motion", "draw_motion"]

OUT_OF_PICTURE = 130.0  # units to the side where nothing of a speaker is seen
SLIDE_S = 0.3  # how long it takes to leave the picture, or to come back
BLINK_EVERY_S = (1.6, 4.4)
BLINK_SHUT_S, BLINK_S = 0.045, 0.1  # half of the time that the eyes are shut, and not wide open
SWAY_HZ = (0.1, 0.9)
SWAY_X, SWAY_Y, SWAY_ROLL, SWAY_ZOOM, SWAY_TURN, SWAY_NOD = 2.2, 1.6, 0.045, 0.015, 2.4, 1.4


@dataclass(frozen=True)
class Motion:
    """One value per frame, float64 (T,) unless said otherwise."""

    x: np.ndarray  # units, to the right
    y: np.ndarray  # units, down
    roll: np.ndarray  # radians, clockwise
    zoom: np.ndarray  # 1 is the drawn size
    turn: np.ndarray  # units that the features move sideways within the outline of the face
    nod: np.ndarray  # the same, down
    slide: np.ndarray  # units that the whole person stands beside the middle
    lid: np.ndarray  # int, index into LID_POSITIONS


def draw_motion(rng: np.random.Generator, times_s: np.ndarray, absent_s: tuple[float, float] | None = None) -> Motion:
    """A quiet sway with blinks; the person is out of the picture from ``absent_s[0]`` to ``absent_s[1]``."""

    def sway(amount: float) -> np.ndarray:
        waves = np.zeros(len(times_s))
        for _ in range(3):
            waves += rng.uniform(0.3, 1.0) * np.sin(
                2 * np.pi * rng.uniform(*SWAY_HZ) * times_s + rng.uniform(0, 2 * np.pi)
            )
        return amount * waves / 2

    slide_T = np.zeros(len(times_s))
    if absent_s is not None:
        outside_s = np.maximum(np.maximum(absent_s[0] - times_s, times_s - absent_s[1]), 0.0)
        slide_T = rng.choice([-1, 1]) * OUT_OF_PICTURE * (1 - _smoothstep(outside_s / SLIDE_S))
    return Motion(
        x=sway(SWAY_X) + rng.uniform(-1.5, 1.5),
        y=sway(SWAY_Y) + rng.uniform(-1.0, 1.0),
        roll=sway(SWAY_ROLL),
        zoom=1 + sway(SWAY_ZOOM),
        turn=sway(SWAY_TURN),
        nod=sway(SWAY_NOD),
        slide=slide_T,
        lid=_blinks(rng, times_s),
    )


def _blinks(rng: np.random.Generator, times_s: np.ndarray) -> np.ndarray:
    lid_T = np.zeros(len(times_s), int)
    blink_s = rng.uniform(0.2, BLINK_EVERY_S[1])
    while len(times_s) and blink_s < times_s[-1]:
        distance_s = np.abs(times_s - blink_s)
        lid_T[distance_s < BLINK_S] = 1
        lid_T[distance_s < BLINK_SHUT_S] = 2
        blink_s += rng.uniform(*BLINK_EVERY_S)
    return lid_T


def _smoothstep(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
