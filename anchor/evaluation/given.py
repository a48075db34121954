"""Networks that somebody else trained and the user gives by path: LPIPS, FID's Inception, face embeddings.

Anchor ships and fetches none of them. What is not given is skipped, and the report says so and why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from anchor.errors import CheckpointError
from anchor.faces.face import ASPECT
from anchor.faces.folders import insightface_home, model_dirs
from anchor.models.original_syncnet import OriginalSyncNet, load_original_syncnet
from anchor.models.scripts import is_script, load_script
from anchor.models.tensors import load_tensors
from anchor.ops.onnx_files import keeps_weights_elsewhere

__all__ = ["Given", "load_given"]

FEATURE_SIDE = 299  # px, Inception's
SKIPPED = {
    "lpips": "LPIPS: no network. Give lpips=PATH: torchvision's alexnet or vgg16 state dict, or a TorchScript of two "
    "pictures in [-1, 1].",
    "fid": "FID: no network. Give inception=PATH: a TorchScript from uint8 pictures (N, 3, H, W) to features.",
    "lse": "LSE-D and LSE-C: no network. Give syncnet_weights=PATH: the original authors' syncnet_v2.model.",
    "identity": "Identity: no face embedding. Put a pack with w600k_r50.onnx or another ArcFace model under "
    "ANCHOR_MODELS (`anchor models fetch name=buffalo_l`).",
}


@dataclass
class Given:
    """What there is; the rest stands in ``skipped`` as sentences."""

    lpips: nn.Module | None = None
    inception: nn.Module | None = None
    num_features: int = 0
    syncnet: OriginalSyncNet | None = None
    identify: Callable[[np.ndarray], np.ndarray] | None = None  # uint8 RGB crops (N, S, S, 3) to embeddings (N, D)
    skipped: dict[str, str] = field(default_factory=dict)


def load_given(lpips: Path | None, inception: Path | None, syncnet_weights: Path | None, device: torch.device) -> Given:
    """Load what is given, on ``device``, and look for a face embedding among the face models.

    Raises:
        CheckpointError: a path was given, and what lies there is not what it should be.
    """
    given = Given(skipped=dict(SKIPPED))
    if lpips is not None:
        given.lpips = _Moved(_load_lpips(lpips), device)
        del given.skipped["lpips"]
    if inception is not None:
        given.inception = _Moved(_Features(_script(inception, "inception")), device)
        given.num_features = _count_features(given.inception, inception)
        del given.skipped["fid"]
    if syncnet_weights is not None:
        given.syncnet = load_original_syncnet(syncnet_weights).to(device)
        del given.skipped["lse"]
    model = find_embedding()
    if model is not None:
        given.identify = _ArcFace(model)
        del given.skipped["identity"]
    return given


def find_embedding() -> Path | None:
    """The first ArcFace model in the folders for face models."""
    for folder in [*model_dirs(), insightface_home()]:
        if folder.is_dir():
            names = ("w600k_r50.onnx", "w600k_mbf.onnx", "glintr100.onnx", "arcface*.onnx")
            found = [path for name in names for path in sorted([*folder.glob(name), *folder.glob(f"*/{name}")])]
            found = [path for path in found if not path.parent.name.startswith(".")]
            if found:
                return found[0]
    return None


class _Moved(nn.Module):
    """A network on its device, for pictures that lie on the CPU."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.net, self.device = net.to(device).eval(), device

    def forward(self, *pictures: Tensor) -> Tensor:
        return self.net(*(picture.to(self.device) for picture in pictures)).cpu()


class _Features(nn.Module):
    """A TorchScript of Inception, asked for its features where it can give probabilities too."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.wants_flag = "return_features" in str(net.forward.schema)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.net(pictures, return_features=True) if self.wants_flag else self.net(pictures)
        return features.flatten(1)


class _ArcFace:
    """An ONNX model of 112 px crops in (x - 127.5) / 127.5; the canonical crop, not the five-point alignment."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.path = path
        try:
            if keeps_weights_elsewhere(path):
                raise ValueError("its weights lie in other files")
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has kinds of its own
            raise CheckpointError(f"{path}: onnxruntime cannot load this face embedding. Take it away.") from error
        self.name = self.session.get_inputs()[0].name

    def __call__(self, faces_NSSC: np.ndarray) -> np.ndarray:
        outputs = []
        for face in faces_NSSC:
            width = round(112 * ASPECT)
            picture = cv2.copyMakeBorder(
                cv2.resize(face, (width, 112), interpolation=cv2.INTER_AREA),
                0, 0, (112 - width) // 2, 112 - width - (112 - width) // 2, cv2.BORDER_REPLICATE,
            )  # fmt: skip
            signed_1CHW = ((picture.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
            outputs.append(self.session.run(None, {self.name: signed_1CHW})[0][0])
        return np.stack(outputs)


def _load_lpips(path: Path) -> nn.Module:
    """LPIPS with the backbone at ``path``: torchmetrics has its linear layers, torchvision's file the rest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a TorchScript is one of the two that may come
            state = None if is_script(path) else load_tensors(_existing(path, "lpips"))
    except CheckpointError:
        state = None
    if state is None:
        return _script(path, "lpips")
    kinds = {"features.28.weight": "vgg", "features.10.weight": "alex"}
    kind = next((kind for key, kind in kinds.items() if isinstance(state, dict) and key in state), None)
    if kind is None:
        raise CheckpointError(f"lpips={path}: neither torchvision's alexnet or vgg16 state dict nor a TorchScript.")
    from torchmetrics.functional.image.lpips import _LPIPS

    net = _LPIPS(pretrained=True, net=kind, pnet_rand=True, use_dropout=True)  # type: ignore[arg-type]
    backbone = net.net.state_dict()
    try:
        net.net.load_state_dict({key: state[f"features.{key.split('.', 1)[1]}"] for key in backbone})
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"lpips={path}: its layers are not {kind}'s ({str(error).splitlines()[-1]}).") from None
    return net.eval()


def _script(path: Path, key: str) -> Any:
    _existing(path, key)
    try:
        return load_script(path)
    except CheckpointError as error:
        raise CheckpointError(f"{key}={error}") from None


def _existing(path: Path, key: str) -> Path:
    if not Path(path).is_file():
        raise CheckpointError(f"{key}={path}: no such file. Leave the key out, and its measure is left out.")
    return Path(path)


def _count_features(net: nn.Module, path: Path) -> int:
    try:
        with torch.inference_mode():
            return int(net(torch.zeros(1, 3, FEATURE_SIDE, FEATURE_SIDE, dtype=torch.uint8)).shape[1])
    except (RuntimeError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [""])[-1][:120]
        raise CheckpointError(
            f"inception={path}: it does not turn uint8 pictures (N, 3, 299, 299) into features ({reason})."
        ) from None
