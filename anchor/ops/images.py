"""Pictures as tensors: bytes to signed floats and back, and the lower half where the mouth is.

Shape suffixes: ... any leading dimensions, C colour (RGB), H W pixels, h = H // 2.
"""

import torch
from torch import Tensor

__all__ = ["lower_half", "mouth_crop", "mouth_weights", "to_bytes", "to_signed"]


def to_signed(bytes_CHW: Tensor) -> Tensor:
    """uint8 [0, 255] as float32 in [-1, 1]; any leading dimensions."""
    return bytes_CHW.float().div_(127.5).sub_(1)


def to_bytes(signed_CHW: Tensor) -> Tensor:
    """Floats in [-1, 1] as uint8 [0, 255], rounded; any leading dimensions."""
    return signed_CHW.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


def lower_half(face_CHW: Tensor) -> Tensor:
    """The lower half (..., C, h, W) of faces (..., C, H, W): mouth, chin and jaw."""
    return face_CHW[..., face_CHW.shape[-2] // 2 :, :]


def mouth_weights(image_size: int, weight: float) -> Tensor:
    """Weights (h, W) with mean 1 over the lower half; the box around the mouth weighs ``weight`` times the rest.

    In our crops the mouth's centre stands at 0.77 of the height; the box spans 0.58 to 0.92 of the height and the
    middle half of the width, which holds an open mouth on rendered and real faces.
    """
    weights_hW = torch.ones(image_size // 2, image_size)
    mouth_crop(weights_hW).fill_(weight)
    return weights_hW / weights_hW.mean()


def mouth_crop(half_hW: Tensor) -> Tensor:
    """The box around the mouth in lower halves (..., h, W), a view: see :func:`mouth_weights`."""
    size = half_hW.shape[-1]
    top, bottom = round(0.58 * size) - size // 2, round(0.92 * size) - size // 2
    return half_hW[..., top:bottom, size // 4 : size - size // 4]
