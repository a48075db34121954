"""What a segment is like, in numbers: its face, how the head is turned, its sound.

Shape suffixes: T frames of the clip, D frames in which the face was found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anchor.faces import FaceTrack, crop_face
from anchor.ops import quality
from anchor.preprocess.cleaning.points import FacePoints, estimate_pose
from anchor.preprocess.segments import Segment
from anchor.preprocess.sound import SILENCE_DB, frame_levels_db, silence_share

__all__ = ["LookLog", "MouthRest", "SegmentMeasures", "measure_segment"]

PAUSE_FRAMES, EDGE_FRAMES = 15, 4  # a pause worth the name, and how far mouths move into it from either side
MIN_SPOKEN = 25  # frames with sound that say how a mouth moves when it speaks
LOOK_EVERY = 5  # frames: light and focus change slowly
TURNED_SHARE = 0.9  # of a segment is turned no further than its angles say


@dataclass(frozen=True)
class SegmentMeasures:
    """Medians over a segment; None where nothing is known."""

    face_px: float  # height of the canonical box
    sharpness: float | None  # of the face at 192 px, see anchor.ops.quality
    luma: float | None  # mean of the middle of the face, [0, 255]
    contrast: float | None  # spread of the grey values of the crop
    yaw_deg: float | None  # nine tenths of the frames are turned by this or less, to either side
    pitch_deg: float | None
    roll_deg: float | None
    speech_db: float  # level while speech is active, relative to full scale
    activity: float  # share of the time that it is
    silence_share: float  # of 40 ms frames below -45 dB
    mouth_motion: float | None  # mean from frame to frame, x the spread of the grey values
    silent_motion: float | None  # the same where nothing is heard for a while
    spoken_motion: float | None  # the same of this face in the whole clip, where something is heard


class LookLog:
    """How one face looks in every fifth frame; it keeps numbers, no pictures."""

    def __init__(self, num_frames: int) -> None:
        self.looks_T3 = np.full((num_frames, 3), np.nan, np.float32)  # sharpness, luma, contrast

    def add(self, number: int, frame: np.ndarray, box: np.ndarray) -> None:
        """Look at the face in ``box`` of frame ``number``, uint8 RGB (H, W, 3), where it is its turn."""
        if number % LOOK_EVERY:
            return
        crop = crop_face(frame, box, quality.SHARPNESS_PX)  # straight from the frame: sharpness is measured at one size
        light = quality.exposure(crop)
        self.looks_T3[number] = quality.sharpness(crop), light.luma, light.contrast


class MouthRest:
    """How much the mouth of one face moves while something is heard, and while nothing is."""

    def __init__(self, motion_T: np.ndarray, samples: np.ndarray) -> None:
        """``motion_T`` is that of `MouthMotion`; ``samples`` is the sound of the clip at 16 kHz."""
        self.motion_T = motion_T
        levels_db = frame_levels_db(samples)[: len(motion_T)]
        self._is_silent_T = np.ones(len(motion_T), bool)
        self._is_silent_T[: len(levels_db)] = levels_db < SILENCE_DB
        spoken = motion_T[~self._is_silent_T & np.isfinite(motion_T)]
        self.spoken = round(float(spoken.mean()), 4) if len(spoken) >= MIN_SPOKEN else None

    def moving(self, segment: Segment) -> float | None:
        """The mean motion in ``segment``."""
        return _mean(self.motion_T[segment.start : segment.stop])

    def silent(self, segment: Segment) -> float | None:
        """The mean motion in its pauses; None where it has none that lasts."""
        edges = np.flatnonzero(np.diff(np.pad(self._is_silent_T[segment.start : segment.stop].astype(int), 1)))
        pieces = [
            self.motion_T[segment.start + start + EDGE_FRAMES : segment.start + stop - EDGE_FRAMES]
            for start, stop in edges.reshape(-1, 2)
            if stop - start >= PAUSE_FRAMES
        ]
        return _mean(np.concatenate(pieces)) if pieces else None


def measure_segment(
    segment: Segment, track: FaceTrack, looks: LookLog, points: FacePoints | None, mouth: MouthRest, samples: np.ndarray
) -> SegmentMeasures:
    """The measures of ``segment``; ``samples`` is the sound of the segment alone, at 16 kHz."""
    boxes = track.boxes[segment.start : segment.stop]
    sharpness, luma, contrast = (_median(column) for column in looks.looks_T3[segment.start : segment.stop].T)
    yaw, pitch, roll = _turns(points, segment)
    level_db, activity = quality.speech_level(samples)
    return SegmentMeasures(
        face_px=round(float(np.median(boxes[:, 3] - boxes[:, 1])), 1),
        sharpness=sharpness, luma=luma, contrast=contrast, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll,
        speech_db=round(level_db, 2), activity=round(activity, 3), silence_share=round(silence_share(samples), 3),
        mouth_motion=mouth.moving(segment), silent_motion=mouth.silent(segment), spoken_motion=mouth.spoken,
    )  # fmt: skip


def _turns(points: FacePoints | None, segment: Segment) -> tuple[float | None, float | None, float | None]:
    if points is None:
        return None, None, None
    is_inside_D = (points.frames_D >= segment.start) & (points.frames_D < segment.stop)
    if not is_inside_D.any():
        return None, None, None
    poses = np.abs([estimate_pose(one) for one in points.points_D52[is_inside_D]])
    yaw, pitch, roll = np.quantile(poses, TURNED_SHARE, axis=0)
    return round(float(yaw), 1), round(float(pitch), 1), round(float(roll), 1)


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(np.median(known)), 3) if known.size else None


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if known.size else None
