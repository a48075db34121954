"""Find faces: one protocol, three detectors, one box convention.

The canonical box, which every detector's own box is mapped to, so that crops are alike whoever found the face: its
bottom edge lies on the chin, its top on the upper forehead (the mouth's corners at 0.73 of the height, the middle of
the lips at 0.77), it is centred on the face, and its width is 0.82 of its height.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import cv2
import numpy as np

from anchor.errors import FaceError

__all__ = ["ASPECT", "DetectorName", "Face", "FaceDetector", "available_detectors", "make_detector", "model_dirs"]

DetectorName = Literal["auto", "insightface", "yunet", "haar"]
ASPECT = 0.82  # width of the canonical box / its height
LONG_SIDE = 320  # px that YuNet and Haar see; larger finds no more faces of a speaker, and costs four times as much
YUNET_URL = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"

# The square of haarcascade_frontalface_default in units of its own side: the canonical box is centred 0.0045 to its
# right, ends 1.048 sides below its top and is 1.081 sides high. Medians over 19 clips of real speakers of each
# clip's median against YuNet's box, 518 pairs; what remains (share of the height, standard deviation): centre .030,
# bottom .038, height .057. The mouth's corners then lie at .741 +- .025 of the height, with YuNet at .733 +- .013.
HAAR_CENTRE, HAAR_BOTTOM, HAAR_HEIGHT = 0.0045, 1.0479, 1.0810
HAAR_SURE = 8.0  # level weight of a median true face; below 3 lie 1 % of them, and most false ones


@dataclass(frozen=True)
class Face:
    """One face in one picture."""

    box: np.ndarray  # float32 (4,): x0, y0, x1, y1 in px, pixel i covers [i, i + 1); may reach past the picture
    score: float  # [0, 1], how sure the detector is; comparable within one detector
    keypoints: np.ndarray | None = (
        None  # float32 (5, 2): eyes, nose, mouth corners, each left then right in the picture
    )


class FaceDetector(Protocol):
    """Finds faces; one object serves one thread."""

    name: str

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        ...


def make_detector(name: DetectorName = "auto", model_dir: Path | None = None) -> FaceDetector:
    """The detector called ``name``; "auto" is the first of insightface, YuNet and Haar that this machine has.

    Models are looked for in ``model_dir``, ``$ANCHOR_MODELS`` and ``~/.cache/anchor/models`` (insightface also in
    ``~/.insightface/models``) and never downloaded. insightface's own weights are for non-commercial research only.

    Raises:
        FaceError: the detector asked for is not on this machine, or its model is damaged.
    """
    if name not in get_args(DetectorName):
        raise FaceError(f"detector={name} is no detector. Choose one of {', '.join(get_args(DetectorName))}.")
    dirs = model_dirs(model_dir)
    if name in ("auto", "insightface"):
        pack = _find_pack(dirs)
        if pack is not None:
            return InsightFaceDetector(pack)
        if name == "insightface":
            raise FaceError(
                f"detector=insightface needs a model pack, and none lies in {_show([*dirs, _insightface_home()])}. "
                "Unpack one there (a folder such as buffalo_l with det_10g.onnx; its weights are for non-commercial "
                "research), or set ANCHOR_MODELS=DIR, or use detector=auto."
            )
    if name in ("auto", "yunet"):
        model = _find_yunet(dirs)
        if model is not None:
            return YuNetDetector(model)
        if name == "yunet":
            raise FaceError(
                f"detector=yunet needs its model, and no *yunet*.onnx lies in {_show(dirs)}. Copy it there "
                f"(0.3 MB, {YUNET_URL}), or set ANCHOR_MODELS=DIR, or use detector=auto."
            )
    return HaarDetector()


def available_detectors(model_dir: Path | None = None) -> list[str]:
    """The names of the detectors that this machine has, in the order in which "auto" prefers them."""
    dirs = model_dirs(model_dir)
    has = {"insightface": _find_pack(dirs), "yunet": _find_yunet(dirs), "haar": hasattr(cv2, "CascadeClassifier")}
    return [name for name, found in has.items() if found]


def model_dirs(first: Path | None = None) -> list[Path]:
    """Where face models are looked for, in order."""
    named = os.environ.get("ANCHOR_MODELS")
    return [
        *([Path(first)] if first else []),
        *([Path(named).expanduser()] if named else []),
        Path("~/.cache/anchor/models").expanduser(),
    ]


class YuNetDetector:
    """YuNet (Apache-2.0) through OpenCV: 7 ms a picture, five keypoints. Its own box has the canonical height."""

    name = "yunet"

    def __init__(self, model: Path, min_score: float = 0.6) -> None:
        try:
            self._net = cv2.FaceDetectorYN.create(str(model), "", (LONG_SIDE, LONG_SIDE), min_score, 0.3, 50)
        except cv2.error as error:
            raise FaceError(
                f"{model} is no YuNet model that OpenCV can read. Copy it again from {YUNET_URL}."
            ) from error

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        small, scale = _reduce(frame, LONG_SIDE)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = []
        for row in found if found is not None else ():
            x, y, width, height = row[:4] / scale
            points = (row[4:14].reshape(5, 2) / scale).astype(np.float32)
            faces.append(Face(canonical_box(x + width / 2, y + height, height), float(row[14]), points))
        return sorted(faces, key=lambda face: -face.score)


class HaarDetector:
    """The cascade that opencv-python 4 brings along: needs no model; loose boxes, and no keypoints."""

    name = "haar"

    def __init__(self) -> None:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = Path(folder) / "haarcascade_frontalface_default.xml"
        if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
            raise FaceError(
                f"detector=haar: OpenCV {cv2.__version__} has no cascades. "
                'Run pip install "opencv-python<5", or use detector=yunet with a model.'
            )
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        small, scale = _reduce(frame, LONG_SIDE)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        squares, _, weights = self._cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=3, minSize=(24, 24), outputRejectLevels=True
        )
        faces = []
        for (x, y, side, _), weight in zip(np.reshape(squares, (-1, 4)), np.ravel(weights), strict=True):
            x, y, side = x / scale, y / scale, side / scale
            box = canonical_box(x + side * (0.5 + HAAR_CENTRE), y + side * HAAR_BOTTOM, side * HAAR_HEIGHT)
            faces.append(Face(box, float(np.clip(weight / HAAR_SURE, 0.0, 1.0))))
        return sorted(faces, key=lambda face: -face.score)


class InsightFaceDetector:
    """SCRFD from an insightface pack on this machine; the packs' weights are for non-commercial research only.

    Its boxes follow the same annotations as YuNet's (WIDER FACE). Pictures are padded, because SCRFD misses faces that
    fill them.
    """

    name = "insightface"

    def __init__(self, pack: Path, min_score: float = 0.5) -> None:
        from insightface.app import FaceAnalysis

        self._min_score = min_score
        try:
            # The name is an existing folder: FaceAnalysis takes it as it is and downloads nothing.
            self._app = FaceAnalysis(name=str(pack), allowed_modules=["detection"], providers=["CPUExecutionProvider"])
            self._app.prepare(ctx_id=-1, det_thresh=min_score, det_size=(640, 640))
        except Exception as error:  # onnxruntime and insightface raise many kinds
            raise FaceError(f"{pack} is no insightface pack that loads ({error}). Unpack it again.") from error

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        pad = max(frame.shape[:2]) // 4
        padded = cv2.copyMakeBorder(frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        rows, points = self._app.det_model.detect(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR), max_num=0)
        faces = []
        for i, row in enumerate(rows):
            x0, y0, x1, y1 = row[:4] - pad
            keypoints = (points[i] - pad).astype(np.float32) if points is not None else None
            faces.append(Face(canonical_box((x0 + x1) / 2, y1, y1 - y0), float(row[4]), keypoints))
        return sorted(faces, key=lambda face: -face.score)


def canonical_box(centre_x: float, bottom: float, height: float) -> np.ndarray:
    """float32 (4,): the box of the canonical aspect with this centre line, chin line and height, in px."""
    half = ASPECT * height / 2
    return np.array([centre_x - half, bottom - height, centre_x + half, bottom], np.float32)


def _reduce(frame: np.ndarray, long_side: int) -> tuple[np.ndarray, float]:
    """``frame`` with its long side at most ``long_side``, and its size relative to the original."""
    height, width = frame.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    if scale == 1.0:
        return frame, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale


def _find_yunet(dirs: list[Path]) -> Path | None:
    wanted: Callable[[Path], tuple[bool, str]] = lambda path: (path.name != "yunet_n_640_640.onnx", path.name)  # noqa: E731
    for folder in dirs:
        found = sorted(folder.glob("*yunet*.onnx"), key=wanted) if folder.is_dir() else []
        if found:
            return found[0]
    return None


def _find_pack(dirs: list[Path]) -> Path | None:
    """The first folder that holds an SCRFD detector, as insightface's packs do."""
    for folder in [*dirs, _insightface_home()]:
        packs = sorted({path.parent for path in folder.glob("*/det_*.onnx")}) if folder.is_dir() else []
        if packs:
            return packs[0]
    return None


def _insightface_home() -> Path:
    return Path("~/.insightface/models").expanduser()


def _show(dirs: list[Any]) -> str:
    return " or ".join(str(folder) for folder in dirs)
