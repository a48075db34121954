"""insightface on a model pack of this machine: SCRFD finds faces, and its landmark networks mark them.

insightface's code is MIT, the weights of its packs are for non-commercial research only. Nothing here downloads:
``FaceAnalysis`` would, where its name is no folder, so it only ever gets a folder that was just seen.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anchor.errors import FaceError
from anchor.faces.face import Face, canonical_box, reduce_frame
from anchor.faces.points import Landmarks
from anchor.ops.onnx_files import keeps_weights_elsewhere

__all__ = ["InsightFaceDetector", "InsightFaceLandmarks", "open_pack", "scrfd_faces", "session_options", "with_margin"]

DET_SIZE = 640  # px, the side of the square that SCRFD sees: what insightface prepares its packs for
SHOWN = 426  # px of it for the picture's long side, the rest is a margin: SCRFD misses faces that fill the picture
MARGIN = (DET_SIZE - SHOWN) / 2 / SHOWN  # of the picture's long side, on each side
MIN_SCORE, MAX_OVERLAP = 0.5, 0.4  # the second is insightface's own
SCHEMES = {"landmark_2d_106": "insightface106", "landmark_3d_68": "ibug68"}  # insightface's name of a task: ours


class InsightFaceDetector:
    """SCRFD. Its boxes follow the same annotations as YuNet's (WIDER FACE): their height is the canonical one."""

    name = "insightface"

    def __init__(self, pack: Path, min_score: float = MIN_SCORE) -> None:
        self._net = open_pack(pack, ["detection"], min_score).det_model

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        small, scale = reduce_frame(frame, SHOWN)
        padded, pad = with_margin(small)
        rows, points = self._net.detect(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR), max_num=0)
        return scrfd_faces(rows, points, pad, scale)


def with_margin(small: np.ndarray) -> tuple[np.ndarray, int]:
    """``small`` with a black margin on all sides, and the margin's width in px."""
    pad = round(max(small.shape[:2]) * MARGIN)
    return cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_CONSTANT), pad


def scrfd_faces(rows: np.ndarray, points: np.ndarray | None, pad: int, scale: np.ndarray) -> list[Face]:
    """The faces of SCRFD's rows (x0, y0, x1, y1, score) and points (n, 5, 2), px with the margin, the surest first."""
    faces = []
    for i, row in enumerate(rows):
        (x0, y0), (x1, y1) = (row[:4].reshape(2, 2) - pad) / scale
        keypoints = ((points[i] - pad) / scale).astype(np.float32) if points is not None else None
        faces.append(Face(canonical_box((x0 + x1) / 2, y1, y1 - y0), float(row[4]), keypoints))
    return sorted(faces, key=lambda face: -face.score)


class InsightFaceLandmarks:
    """106 points where the pack has ``2d106det.onnx``, else the 68 of ``1k3d68.onnx`` (28 times as large)."""

    name = "insightface"

    def __init__(self, pack: Path) -> None:
        models = open_pack(pack, ["detection", *SCHEMES]).models
        self._task = next((task for task in SCHEMES if task in models), "")
        if not self._task:
            raise FaceError(
                f"landmarks=insightface: {pack} holds no landmark model (2d106det.onnx or 1k3d68.onnx). "
                "Run `anchor models fetch name=buffalo_l accept_licence=true`, or use landmarks=none."
            )
        self._net = models[self._task]

    def landmarks(self, frame: np.ndarray, face: Face) -> Landmarks:
        """The points of ``face`` in a uint8 RGB picture (H, W, 3)."""
        from insightface.app.common import Face as FoundFace

        points = self._net.get(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), FoundFace(bbox=face.box))
        # insightface counts from the middle of the first pixel, we from its corner.
        return Landmarks((points[:, :2] + 0.5).astype(np.float32), SCHEMES[self._task])


def open_pack(pack: Path, tasks: list[str], min_score: float = 0.5) -> Any:
    """The ``FaceAnalysis`` of insightface over the folder ``pack``, with the models for ``tasks`` ready on the CPU.

    Raises:
        FaceError: there is no such folder, or one of its files is damaged.
    """
    if not pack.is_dir():
        raise FaceError(f"{pack} is no folder with a model pack. {_cure(pack)}")
    from insightface.app import FaceAnalysis

    try:
        for path in pack.glob("*.onnx"):
            if keeps_weights_elsewhere(path):
                raise ValueError(f"{path} keeps weights in other files")
        # An existing folder as the name: FaceAnalysis takes it as it is.
        app = FaceAnalysis(
            name=str(pack.resolve()),
            allowed_modules=tasks,
            providers=["CPUExecutionProvider"],
            sess_options=session_options(),
        )
        app.prepare(ctx_id=-1, det_thresh=min_score, det_size=(DET_SIZE, DET_SIZE))
    except Exception as error:  # onnxruntime, onnx and insightface raise many kinds
        raise FaceError(f"{_damaged(pack)} is no model that insightface can load. {_cure(pack)}") from error
    return app


def session_options() -> Any:
    """Threads of onnxruntime: as many as OMP_NUM_THREADS says, else one per core; they sleep while they wait."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if named.isdigit() and int(named) > 0:
        options.intra_op_num_threads = int(named)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # what goes wrong arrives as an exception
    return options


def _damaged(pack: Path) -> Path:
    """The first file of ``pack`` that onnxruntime cannot load, or the pack itself where each one loads alone."""
    import onnxruntime

    for path in sorted(pack.glob("*.onnx")):
        try:
            if keeps_weights_elsewhere(path):
                return path
            onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
        except Exception:
            return path
    return pack


def _cure(pack: Path) -> str:
    from anchor.faces.packs import PACKS

    name = pack.name if pack.name in PACKS else "buffalo_l"
    where = "" if pack.name in PACKS else " for another"
    return (
        f"Run `anchor models fetch name={name} accept_licence=true`{where} (its weights are for non-commercial "
        "research), set ANCHOR_MODELS=DIR, or use detector=yunet or detector=haar."
    )
