"""A generator out of the single file ``model.onnx``, computed by ONNX Runtime on the CPU.

Shape suffixes: N pictures, C colour, H W pixels, h = H // 2, M mel bins, S mel steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from anchor.errors import CheckpointError, DeviceError
from anchor.models.card import CARD_KEY, read_card
from anchor.ops.onnx_files import keeps_weights_elsewhere

__all__ = ["OnnxGenerator", "open_session"]


class OnnxGenerator(nn.Module):
    """Draws like the generator that was exported; it has no parameters and cannot learn.

    Args:
        path: ``model.onnx`` of `anchor export`; its card travels inside.
        device: ``auto`` or ``cpu``.

    Raises:
        CheckpointError: the file is missing, damaged, without a card, or no generator's.
        DeviceError: a card was asked for.
    """

    def __init__(self, path: str | Path, device: str = "auto") -> None:
        super().__init__()
        if device not in ("auto", "cpu"):
            raise DeviceError(f"device={device}: {path} is computed on the CPU. Give the folder of the export instead.")
        self.session, metadata = open_session(path)
        if CARD_KEY not in metadata:
            raise CheckpointError(f"{path}: an ONNX file without a card. Give one that `anchor export` wrote.")
        self.card = read_card(metadata[CARD_KEY], str(path), "generator")
        self.image_size = int(self.card["image_size"])
        self.num_references = int(self.card["network"]["options"].get("num_references", 1))

    def forward(self, face_N6HW: Tensor, mel_N1MS: Tensor) -> Tensor:
        """Lower halves (N, 3, h, W) in [-1, 1] for face stacks of :func:`stack_faces` and mel windows."""
        feed = {"face": face_N6HW.float().contiguous().numpy(), "mel": mel_N1MS.float().contiguous().numpy()}
        return torch.from_numpy(self.session.run(["mouth"], feed)[0])


def open_session(path: str | Path):  # type: ignore[no-untyped-def]  # onnxruntime is untyped
    """An ``onnxruntime.InferenceSession`` with as many threads as torch has, and the file's metadata.

    Raises:
        CheckpointError: onnxruntime is not installed, or the file is missing or damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(f"{path}: ONNX Runtime is missing ({error}). Run pip install onnxruntime.") from None
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file. `anchor export` writes it.")
    try:
        is_whole = not keeps_weights_elsewhere(Path(path))
    except Exception as error:  # protobuf's own kinds
        raise CheckpointError(f"{path}: not a readable ONNX file ({error!r:.80}). Copy or export it again.") from None
    if not is_whole:
        raise CheckpointError(
            f"{path} keeps weights in other files, and none is read. `anchor export` writes one file."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # OMP_NUM_THREADS, where it is set
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes want the cores
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen kinds of its own
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: not a readable ONNX file ({reason}). Copy or export it again.") from None
    return session, session.get_modelmeta().custom_metadata_map
