"""MediaPipe's FaceLandmarker: 478 points. An optional package, chosen by name only.

MediaPipe Tasks send measurements of their use (not the pictures) to Google where there is a network, and have no
switch against it; that is why "auto" never takes this backend.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import FaceError
from anchor.faces.crop import crop_face
from anchor.faces.face import Face
from anchor.faces.points import Landmarks

__all__ = ["MediaPipeLandmarks", "mesh_is_installed"]

# Measured over 760 frames of 19 clips: crops of 256 to 512 px, 1.3 to 2.2 times as high as the face's box, find as many
# faces (.98) and tremble alike.
CROP = 384  # px: the face then has the 256 px that the mesh network sees
WIDE = 1.5  # side of the crop x height of the face's box: the model has to find the face in it once more


class MediaPipeLandmarks:
    """The face mesh on a crop around each face, from ``face_landmarker*.task``."""

    name = "mediapipe"

    def __init__(self, model: Path) -> None:
        if not mesh_is_installed():
            raise FaceError(
                "landmarks=mediapipe needs the package mediapipe, which is optional. Run pip install "
                '"virtual-anchor[landmarks]" (MediaPipe sends usage measurements to Google), or use landmarks=none.'
            )
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

        try:
            # The bytes, not the path: a path is read in C++, which reports a damaged file less well.
            options = FaceLandmarkerOptions(base_options=BaseOptions(model_asset_buffer=model.read_bytes()))
            self._net = FaceLandmarker.create_from_options(options)
        except Exception as error:  # mediapipe raises RuntimeError, ValueError and others
            raise FaceError(
                f"{model} is no face landmarker that MediaPipe can load. "
                "Delete it and run `anchor models fetch name=face_landmarker`, or use landmarks=none."
            ) from error
        weakref.finalize(self, _close, self._net)

    def landmarks(self, frame: np.ndarray, face: Face) -> Landmarks | None:
        """The points of ``face`` in a uint8 RGB picture (H, W, 3); None where the mesh finds no face there."""
        from mediapipe import Image, ImageFormat

        x0, y0, x1, y1 = face.box.astype(float)
        side = WIDE * (y1 - y0)
        left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
        crop = crop_face(frame, (left, top, left + side, top + side), CROP)
        found = self._net.detect(Image(image_format=ImageFormat.SRGB, data=crop)).face_landmarks
        if not found:
            return None
        points = np.array([(left + point.x * side, top + point.y * side) for point in found[0]], np.float32)
        return Landmarks(points, "mediapipe478")


def _close(net: Any) -> None:
    """Free the native network; as the interpreter ends its threads are gone, and the process frees it."""
    try:
        net.close()
    except RuntimeError:
        net._handle = None  # or its __del__ tries once more, and prints a traceback


def mesh_is_installed() -> bool:
    """Whether the package is installed; it is not imported."""
    from importlib.util import find_spec

    return find_spec("mediapipe") is not None
