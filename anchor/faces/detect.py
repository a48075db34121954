"""Find faces: the detectors that this machine has, and the one that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import cv2

from anchor.errors import FaceError
from anchor.faces.face import ASPECT, BatchFaceDetector, Face, FaceDetector, canonical_box
from anchor.faces.folders import find_model, find_pack, insightface_home, model_dirs, show_dirs
from anchor.faces.haar import HaarDetector
from anchor.faces.insight import InsightFaceDetector
from anchor.faces.yunet import YuNetDetector

if TYPE_CHECKING:
    import torch

__all__ = [
    "ASPECT",
    "BatchFaceDetector",
    "DetectorName",
    "Face",
    "FaceDetector",
    "HaarDetector",
    "InsightFaceDetector",
    "YuNetDetector",
    "available_detectors",
    "canonical_box",
    "make_detector",
    "model_dirs",
]

DetectorName = Literal["auto", "insightface", "yunet", "haar"]


def make_detector(
    name: DetectorName = "auto",
    model_dir: Path | None = None,
    *,
    device: str | None = None,
    runtime: Literal["torch"] | None = None,
) -> FaceDetector:
    """The detector called ``name``; "auto" is the first of insightface, YuNet and Haar that this machine has.

    Models are looked for in ``model_dir``, ``$ANCHOR_MODELS`` and ``~/.cache/anchor/models`` (insightface also in
    ``~/.insightface/models``) and never downloaded: `anchor models fetch` does that, on the user's word.
    insightface's own weights are for non-commercial research only.

    ``device`` is where it runs: None and "cpu" take one picture at a time through OpenCV or onnxruntime; "mlu", "cuda"
    and "mlu:1" run YuNet or SCRFD as a torch module, in batches; "auto" does so where there is a card.
    ``runtime="torch"`` takes the torch module on the CPU as well.

    Raises:
        FaceError: the detector asked for is not on this machine, has no form for the card, or its model is damaged.
        DeviceError: the device asked for is not there.
    """
    if name not in get_args(DetectorName):
        raise FaceError(f"detector={name} is no detector. Choose one of {', '.join(get_args(DetectorName))}.")
    card = _torch_device(device, runtime)
    dirs = model_dirs(model_dir)
    if name in ("auto", "insightface"):
        pack = find_pack(dirs)
        if pack is not None:
            return InsightFaceDetector(pack) if card is None else _batched("insightface", _scrfd_of(pack), card)
        if name == "insightface":
            raise FaceError(
                f"detector=insightface needs a model pack, and none lies in {show_dirs([*dirs, insightface_home()])}. "
                "Run `anchor models fetch name=buffalo_l accept_licence=true` (its weights are for non-commercial "
                "research), or set ANCHOR_MODELS=DIR (a folder in it such as buffalo_l with det_10g.onnx), "
                "or use detector=auto."
            )
    if name in ("auto", "yunet"):
        model = _find_yunet(dirs)
        if model is not None:
            return YuNetDetector(model) if card is None else _batched("yunet", model, card)
        if name == "yunet":
            raise FaceError(
                f"detector=yunet needs its model, and no *yunet*.onnx lies in {show_dirs(dirs)}. "
                "Run `anchor models fetch name=yunet` (0.3 MB), or set ANCHOR_MODELS=DIR, or use detector=auto."
            )
    if card is not None and (device or "cpu") != "auto":
        raise FaceError(
            f"faces.device={card}: detector={name} has nothing that runs there, Haar runs on the CPU only. "
            "Run `anchor models fetch name=yunet` and use detector=yunet, or use faces.device=cpu."
        )
    return HaarDetector()


def _torch_device(device: str | None, runtime: str | None) -> torch.device | None:
    """Where the torch module runs; None for one picture at a time on the CPU."""
    if runtime is None and device in (None, "cpu"):
        return None
    from anchor.device import resolve_device

    found = resolve_device(device or "cpu")
    return None if runtime is None and found.type == "cpu" else found


def _batched(name: str, model: Path, device: torch.device) -> FaceDetector:
    from anchor.faces.batch import BATCH_SIZE, BatchedScrfd, BatchedYuNet

    return (BatchedYuNet if name == "yunet" else BatchedScrfd)(model, device, BATCH_SIZE)


def _scrfd_of(pack: Path) -> Path:
    return min(pack.glob("det_*.onnx"))


def available_detectors(model_dir: Path | None = None) -> list[str]:
    """The names of the detectors that this machine has, in the order in which "auto" prefers them."""
    dirs = model_dirs(model_dir)
    has = {"insightface": find_pack(dirs), "yunet": _find_yunet(dirs), "haar": hasattr(cv2, "CascadeClassifier")}
    return [name for name, found in has.items() if found]


def _find_yunet(dirs: list[Path]) -> Path | None:
    return find_model(dirs, "*yunet*.onnx", "yunet_n_640_640.onnx")
