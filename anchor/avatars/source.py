"""What an avatar is built from: the pictures of a video or a still, where the face is, and how much moves.

Shape suffixes: T frames of the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anchor.avatars.still import STILL_FRAMES, LivingStill
from anchor.errors import FaceError
from anchor.faces import FaceDetector, FaceTrack, FaceTracker
from anchor.inference.dubber import Pictures
from anchor.inference.footage import Footage, finished_track, read_pictures
from anchor.inference.progress import show_progress
from anchor.inference.still import is_still, read_still
from anchor.inference.store import MEMORY_BYTES, FrameStore
from anchor.media.audio import read_audio
from anchor.media.container import probe
from anchor.preprocess.sound import frame_levels_db
from anchor.timing import FPS

__all__ = ["Source", "fit_picture", "look_at", "read_source", "small_picture"]

LOOK_FRAMES = 3000  # 2 min: how far a video is looked through for a stretch to idle in
THUMB = 24  # px, side at which whole pictures are compared


@dataclass(frozen=True)
class Source:
    """Pictures at 25 frames per second, with what is known of each."""

    pictures: Pictures
    track: FaceTrack
    motion_T: np.ndarray  # float32 (T,) grey levels by which a picture differs from the one before
    levels_T: np.ndarray | None  # loudness, dB; None where there is no sound
    is_still: bool


def read_source(path: Path, detector: FaceDetector, least: int = 0) -> Source:
    """The first two minutes of a video, or as far as ``least`` frames; or a still picture that breathes and blinks.

    Raises:
        MediaError: it cannot be read.
        FaceError: no picture shows a face.
    """
    if is_still(path):
        picture = read_still(path)
        faces = detector.detect(picture)
        if not faces:
            raise FaceError(
                f"{path}: {detector.name} finds no face in it. Give a picture of one person from the front, or another "
                "detector: detector=insightface|yunet|haar."
            )
        face = max(faces, key=lambda one: float(one.box[3] - one.box[1]))
        still = LivingStill(picture, face)
        return look_at(path, still, detector, STILL_FRAMES, None, True)
    levels_T = frame_levels_db(read_audio(path)) if probe(path).has_audio else None
    return look_at(path, None, detector, max(LOOK_FRAMES, least), levels_T, False)


def fit_picture(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``picture`` at width and height ``size``."""
    if picture.shape[1::-1] == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def small_picture(picture: np.ndarray) -> np.ndarray:
    """float32 (576,): the whole picture, small and grey, to compare with others."""
    step_y, step_x = max(1, picture.shape[0] // 240), max(1, picture.shape[1] // 240)
    small = cv2.resize(picture[::step_y, ::step_x], (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32).ravel()


def look_at(
    path: Path, still: Pictures | None, detector: FaceDetector, most: int, levels_T: np.ndarray | None, is_one: bool
) -> Source:
    """The first ``most`` pictures of the video at ``path``, or of ``still``, with the face followed through them.

    Raises:
        FaceError: no picture shows a face.
    """
    store, tracker, count = FrameStore(MEMORY_BYTES), FaceTracker(detector), 0
    motion: list[float] = []
    before: np.ndarray | None = None
    if still is None:
        pictures, expected = read_pictures(path), round(min(most, probe(path).duration_s * FPS))
    else:
        pictures, expected = (still[number] for number in range(len(still))), len(still)
    for count, picture in enumerate(show_progress(pictures, expected, f"look at {path.name}"), 1):
        if still is None and count - 1 == len(store) and store.has_room(picture):
            store.append(picture)
        tracker.add(count - 1, picture)
        small = small_picture(picture)
        motion.append(float(np.abs(small - before).mean()) if before is not None else 0.0)
        before = small
        if count == most:
            break
    track = finished_track(tracker, path, count)
    footage: Pictures = still if still is not None else Footage(path, store, count, is_repeated=False)
    return Source(footage, track, np.array(motion, np.float32), levels_T, is_one)
