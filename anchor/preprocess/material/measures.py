"""What raw material is like, in numbers: the picture, the face, the sound and the lips of one video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anchor.preprocess.sync import Offset
from anchor.timing import FPS

__all__ = ["Faces", "Measures", "Pictures", "Sound", "measures_from"]


@dataclass(frozen=True)
class Sound:
    """The sound of a clip; levels are relative to full scale."""

    sample_rate: int  # Hz, as recorded
    channels: int
    seconds: float
    level_db: float  # of the speech while it is active
    activity: float  # share of the time that it is
    noise_db: float  # between the words
    silence_share: float  # of 40 ms frames below -45 dB
    clipped_share: float  # of samples at full scale


@dataclass(frozen=True)
class Faces:
    """The face that is followed; medians over the frames looked at."""

    found_share: float  # of the frames looked at
    count: int  # faces seen at once in at least a fifth of the frames
    height_px: int  # of the canonical box
    sharpness: float  # see anchor.ops.quality, at 192 px
    luma: float  # [0, 255]
    dark_share: float  # of the face, as good as black
    bright_share: float  # as good as white
    contrast: float  # spread of the grey values of the crop


@dataclass(frozen=True)
class Measures:
    """Everything measured of one video."""

    width: int  # px, as displayed
    height: int
    fps: float  # as measured from the timestamps
    is_variable_rate: bool
    codec: str
    frames: int  # at 25 fps, as long as picture and sound last together
    usable_s: float  # of them with one face for long enough
    longest_run: int  # frames of one face in a row, among those looked at
    frames_seen: int  # frames that the looks cover: all of a short clip, moments of a long one
    detector: str
    faces: Faces | None  # None: no face was followed
    sound: Sound | None
    sound_reason: str = ""  # why there is no sound
    lips: Offset | None = None  # how late the sound is against them; None where there is no face or no sound

    @property
    def seconds(self) -> float:
        """How long picture and sound last together."""
        return self.frames / FPS


@dataclass
class Pictures:
    """uint8 RGB pictures for the report: a whole frame with the face marked, and crops."""

    view: np.ndarray | None = None
    faces: list[np.ndarray] = field(default_factory=list)


def measures_from(record: Mapping[str, Any]) -> Measures:
    """The measures that ``dataclasses.asdict`` made ``record`` of."""
    faces, sound, lips = record["faces"], record["sound"], record["lips"]
    if lips:
        lips = Offset(**{**lips, "curve": tuple(tuple(pair) for pair in lips["curve"])})
    return Measures(**{**record, "faces": faces and Faces(**faces), "sound": sound and Sound(**sound), "lips": lips})
