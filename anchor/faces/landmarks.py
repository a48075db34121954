"""Mark faces: the landmark backends that this machine has, and the one that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from anchor.errors import FaceError
from anchor.faces.folders import find_model, find_pack, insightface_home, model_dirs, show_dirs
from anchor.faces.insight import InsightFaceLandmarks
from anchor.faces.mesh import MediaPipeLandmarks, mesh_is_installed
from anchor.faces.points import LandmarkBackend, NoLandmarks

__all__ = ["LandmarkName", "available_landmarks", "make_landmarks"]

LandmarkName = Literal["auto", "mediapipe", "insightface", "none"]


def make_landmarks(name: LandmarkName = "auto", model_dir: Path | None = None) -> LandmarkBackend:
    """The landmark backend called ``name``; "auto" is insightface where a pack has landmarks, else none.

    "auto" never is mediapipe, which sends measurements of its use to Google: that one is asked for by name. Models are
    looked for where :func:`anchor.faces.make_detector` looks, and never downloaded.

    Raises:
        FaceError: the backend asked for is not on this machine, or its model is damaged.
    """
    if name not in get_args(LandmarkName):
        raise FaceError(f"landmarks={name} is no backend. Choose one of {', '.join(get_args(LandmarkName))}.")
    dirs = model_dirs(model_dir)
    if name == "mediapipe":
        model = _find_mesh(dirs)
        if model is None:
            raise FaceError(
                f"landmarks=mediapipe needs its model, and no face_landmarker*.task lies in {show_dirs(dirs)}. "
                "Run `anchor models fetch name=face_landmarker` (3.8 MB), or set ANCHOR_MODELS=DIR, "
                "or use landmarks=none."
            )
        return MediaPipeLandmarks(model)
    if name in ("auto", "insightface"):
        pack = _find_marked_pack(dirs)
        if pack is not None:
            return InsightFaceLandmarks(pack)
        if name == "insightface":
            raise FaceError(
                "landmarks=insightface needs a model pack with 2d106det.onnx, and none lies in "
                f"{show_dirs([*dirs, insightface_home()])}. Run `anchor models fetch name=buffalo_l "
                "accept_licence=true` (its weights are for non-commercial research), or set ANCHOR_MODELS=DIR, "
                "or use landmarks=none."
            )
    return NoLandmarks()


def available_landmarks(model_dir: Path | None = None) -> list[str]:
    """The names of the landmark backends that this machine has; "none" is always there, and the last."""
    dirs = model_dirs(model_dir)
    has = {
        "insightface": _find_marked_pack(dirs) is not None,
        "mediapipe": _find_mesh(dirs) is not None and mesh_is_installed(),
        "none": True,
    }
    return [name for name, found in has.items() if found]


def _find_marked_pack(dirs: list[Path]) -> Path | None:
    return find_pack(dirs, "2d106det.onnx") or find_pack(dirs, "1k3d68.onnx")


def _find_mesh(dirs: list[Path]) -> Path | None:
    return find_model(dirs, "face_landmarker*.task", "face_landmarker.task")
