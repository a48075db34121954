"""Faces: find them, follow one through a video, cut it out and put it back."""

from anchor.faces.crop import crop_face, paste_face
from anchor.faces.detect import DetectorName, Face, FaceDetector, available_detectors, make_detector
from anchor.faces.track import FaceTrack, FaceTracker, TrackSettings, is_frontal, track_faces

__all__ = [
    "DetectorName",
    "Face",
    "FaceDetector",
    "FaceTrack",
    "FaceTracker",
    "TrackSettings",
    "available_detectors",
    "crop_face",
    "is_frontal",
    "make_detector",
    "paste_face",
    "track_faces",
]
