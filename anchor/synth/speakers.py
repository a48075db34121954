"""Who the drawn speakers are: a look, drawn from a seed.

Lengths are in units of 1/128 of the picture's side. The head, hair to chin, fills about 70 % of the height, and the
proportions are those of the classical canon: hairline, brows, base of the nose and chin are equally far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["CENTRE_X", "PICTURE_UNITS", "Beard", "HairStyle", "Speaker", "draw_speaker", "mixed"]

PICTURE_UNITS = 128.0
CENTRE_X = 64.0

HairStyle = Literal["short", "long", "parted", "curly", "bald", "tied"]
Beard = Literal["none", "stubble", "full", "goatee"]
Glasses = Literal["none", "round", "square"]

# Colours are RGB in [0, 255], by eye from portraits.
SKIN_TONES = np.array(
    [(246, 214, 190), (232, 190, 160), (214, 165, 128), (180, 125, 90), (140, 93, 67), (105, 70, 52)], float
)
LIGHT_SKIN = 2.2  # below this index the hair may have any colour
HAIR_COLOURS = np.array(
    [(30, 24, 22), (62, 42, 30), (105, 70, 42), (168, 124, 74), (205, 176, 120), (128, 126, 124), (122, 54, 30)], float
)
DARK_HAIR = (0, 0, 1, 1, 5)  # what goes with darker skin
IRIS_COLOURS = np.array([(70, 45, 25), (90, 70, 35), (60, 95, 120), (70, 105, 70), (45, 30, 20)], float)
LIPSTICK, BARE_LIPS = (190.0, 50.0, 70.0), (165.0, 90.0, 85.0)


@dataclass(frozen=True)
class Speaker:
    """A look. Lengths and places are in picture units (y downwards), colours are RGB float (3,) in [0, 255]."""

    seed: tuple[int, ...]
    is_female: bool
    skin: np.ndarray
    hair: np.ndarray
    lips: np.ndarray
    iris: np.ndarray
    cloth: np.ndarray
    backdrop: np.ndarray  # (2, 2, 3), the colours in the corners of the background

    face_half_width: float
    skull_top_y: float
    chin_y: float
    jaw: float  # 0.6 pointed .. 1 square
    eye_y: float
    eye_distance: float  # from the centre line
    eye_half_width: float
    eye_half_height: float
    gaze: tuple[float, float]
    brow_half_height: float
    brow_arch: float
    brow_lift: float  # above the eye
    nose_half_width: float
    nose_base_y: float
    mouth_y: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    full_opening: float  # distance of the lips at opening 1
    hairline_y: float
    wrinkles: float  # 0 .. 1

    hair_style: HairStyle
    beard: Beard
    glasses: Glasses
    light: np.ndarray  # (3,) unit vector towards the light: right, down, to the viewer
    ambient: float  # 0 .. 1, light in the shadows
    teeth: float  # brightness
    opening_gain: float  # how far this speaker opens the mouth
    sensor_noise: float  # standard deviation in grey levels

    @property
    def face_centre_y(self) -> float:
        """Half way between the top of the skull and the chin."""
        return (self.skull_top_y + self.chin_y) / 2

    @property
    def face_half_height(self) -> float:
        """From the face's centre to the chin."""
        return (self.chin_y - self.skull_top_y) / 2


def draw_speaker(seed: Sequence[int]) -> Speaker:
    """The look that belongs to ``seed``; two different seeds give two different people."""
    rng = np.random.default_rng(list(seed))
    uniform = rng.uniform
    is_female = bool(rng.random() < 0.5)

    tone = uniform(0, len(SKIN_TONES) - 1.001)
    skin = mixed(SKIN_TONES[int(tone)], SKIN_TONES[int(tone) + 1], tone % 1) * (1 + rng.normal(0, 0.02, 3))
    hair = HAIR_COLOURS[rng.integers(len(HAIR_COLOURS)) if tone < LIGHT_SKIN else rng.choice(DARK_HAIR)]
    lip_paint = mixed(
        skin * (0.86, 0.62, 0.60), LIPSTICK if is_female else BARE_LIPS, uniform(0.1, 0.65 if is_female else 0.3)
    )
    grey = uniform(50, 200)
    light = np.array([uniform(-0.8, 0.8), uniform(-0.8, 0.0), uniform(0.7, 1.2)])

    styles: list[HairStyle] = (
        ["long", "long", "parted", "curly", "tied"] if is_female else ["short", "short", "parted", "curly", "bald"]
    )
    beards: list[Beard] = ["none"] if is_female else ["none", "none", "none", "stubble", "full", "goatee"]
    glasses: list[Glasses] = ["none", "none", "none", "none", "none", "round", "square"]
    eye_y, mouth_y = uniform(58.0, 61.5), uniform(87.0, 89.0)
    return Speaker(
        seed=tuple(int(part) for part in seed),
        is_female=is_female,
        skin=np.clip(skin, 20, 250),
        hair=hair * uniform(0.8, 1.15),
        lips=np.clip(lip_paint * uniform(0.85, 1.02), 20, 250),
        iris=IRIS_COLOURS[rng.integers(len(IRIS_COLOURS))],
        cloth=np.clip(mixed(np.full(3, uniform(25, 225)), uniform(20, 220, 3), 0.6), 0, 255),
        backdrop=np.clip(grey + rng.normal(0, 22, (2, 2, 1)) + rng.normal(0, 16, (2, 2, 3)), 8, 245),
        face_half_width=uniform(28.5, 32.0),
        skull_top_y=uniform(18.0, 20.0),
        chin_y=mouth_y + uniform(15.8, 17.8),
        jaw=uniform(0.62, 0.80) if is_female else uniform(0.72, 0.95),
        eye_y=eye_y,
        eye_distance=uniform(12.8, 14.6),
        eye_half_width=uniform(5.4, 6.6),
        eye_half_height=uniform(2.4, 3.3),
        gaze=(uniform(-0.9, 0.9), uniform(-0.5, 0.5)),
        brow_half_height=uniform(0.7, 1.2) if is_female else uniform(1.0, 1.7),
        brow_arch=uniform(0.0, 1.8),
        brow_lift=uniform(6.0, 8.0),
        nose_half_width=uniform(4.6, 6.8),
        nose_base_y=eye_y + uniform(18.5, 21.0),
        mouth_y=mouth_y,
        mouth_half_width=uniform(10.5, 13.5),
        upper_lip=uniform(1.5, 2.9),
        lower_lip=uniform(2.2, 4.0),
        full_opening=uniform(10.0, 13.0),
        hairline_y=uniform(30.0, 35.5),
        wrinkles=uniform(0, 1),
        hair_style=styles[rng.integers(len(styles))],
        beard=beards[rng.integers(len(beards))],
        glasses=glasses[rng.integers(len(glasses))],
        light=light / np.linalg.norm(light),
        ambient=uniform(0.5, 0.8),
        teeth=uniform(0.85, 1.02),
        opening_gain=uniform(0.85, 1.0),
        sensor_noise=uniform(0.8, 3.0),
    )


def mixed(first: np.ndarray | Sequence[float], second: np.ndarray | Sequence[float], share: float) -> np.ndarray:
    """The colour between two, ``share`` of the way to the second."""
    return np.asarray(first, float) * (1 - share) + np.asarray(second, float) * share
