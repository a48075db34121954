"""How every clip is processed: the arguments of the command, checked and in frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anchor.errors import ConfigError
from anchor.faces import DetectorName
from anchor.timing import FPS, WINDOW_FRAMES

__all__ = ["ClipSettings", "FacesName", "check_settings"]

FacesName = Literal["largest", "all", "speaking"]


@dataclass(frozen=True)
class ClipSettings:
    """How every clip is processed."""

    image_size: int  # px, side of a crop
    detector: DetectorName
    detect_every: int  # frames
    max_frames: int  # of a segment
    min_frames: int
    faces: FacesName = "largest"
    min_segments: int = 1


def check_settings(
    image_size: int, detector: DetectorName, detect_every: int, segment_s: float, min_s: float, faces: FacesName
) -> ClipSettings:
    """The settings of these arguments.

    Raises:
        ConfigError: one of them is out of its range.
    """
    if not 32 <= image_size <= 1024:
        raise ConfigError(f"image_size={image_size} is no size of a crop. Give 32 to 1024, for example 96 or 192.")
    if detect_every < 1:
        raise ConfigError(f"detect_every={detect_every} is no number of frames. Give 1 or more.")
    if faces not in ("largest", "all", "speaking"):
        raise ConfigError(f"faces={faces} is not a choice. Choose one of largest, all, speaking.")
    min_frames, max_frames = round(min_s * FPS), round(segment_s * FPS)
    if min_frames < WINDOW_FRAMES:
        raise ConfigError(f"min_s={min_s} is {min_frames} frames, a window needs {WINDOW_FRAMES}. Give 0.2 or more.")
    if max_frames < 2 * min_frames:
        raise ConfigError(f"segment_s={segment_s} is less than twice min_s={min_s}. Raise it, or lower min_s.")
    return ClipSettings(image_size, detector, detect_every, max_frames, min_frames, faces)
