"""How much of the drawn mouth a frame shows: all of it inside a face's stretch, none where the face is away."""

from __future__ import annotations

import numpy as np

__all__ = ["face_presence"]


def face_presence(ids_T: np.ndarray, fade: int) -> np.ndarray:
    """float32 (T,) in [0, 1] for the frames of a track: 0 where there is no face, 1 well inside, a ramp between.

    ``ids_T`` says whose face a frame holds, -1 for none. The ramp lasts ``fade`` frames on the face's side, so a mouth
    neither pops in when a person turns to the camera nor out when a hand covers it. It stands only beside frames
    without a face: at the ends of the video and between two faces, which is a change of shot, nothing is faded.
    """
    frames_T = np.arange(len(ids_T))
    absent = np.flatnonzero(ids_T < 0)
    if len(absent) == 0:
        return np.ones(len(ids_T), np.float32)
    after = np.searchsorted(absent, frames_T)
    following = np.where(after < len(absent), absent[np.minimum(after, len(absent) - 1)] - frames_T, len(ids_T) + fade)
    leading = np.where(after > 0, frames_T - absent[np.maximum(after - 1, 0)], len(ids_T) + fade)
    return np.where(ids_T < 0, 0, np.clip(np.minimum(following, leading) / (fade + 1), 0, 1)).astype(np.float32)
