"""Faces: find them, mark them, follow one through a video, cut it out and put it back."""

from anchor.faces.crop import crop_face, paste_face
from anchor.faces.detect import BatchFaceDetector, DetectorName, Face, FaceDetector, available_detectors, make_detector
from anchor.faces.landmarks import LandmarkName, available_landmarks, make_landmarks
from anchor.faces.looking import FaceLooker, is_frontal
from anchor.faces.mesh import mesh_is_installed
from anchor.faces.points import LandmarkBackend, Landmarks, Mouth, mouth_opening, mouth_points
from anchor.faces.track import FaceTrack, FaceTracker, TrackSettings, track_faces

__all__ = [
    "BatchFaceDetector",
    "DetectorName",
    "Face",
    "FaceDetector",
    "FaceLooker",
    "FaceTrack",
    "FaceTracker",
    "LandmarkBackend",
    "LandmarkName",
    "Landmarks",
    "Mouth",
    "TrackSettings",
    "available_detectors",
    "available_landmarks",
    "crop_face",
    "is_frontal",
    "make_detector",
    "make_landmarks",
    "mesh_is_installed",
    "mouth_opening",
    "mouth_points",
    "paste_face",
    "track_faces",
]
