"""Avatars that tell what they show: each picture carries its number as a bar-code, and a drawn mouth is seen at once.

The picture is black where the mouth is, and what an untrained network draws there is grey: the first picture of a
speech is as plain as a flash.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from anchor.avatars import build
from anchor.faces import Face
from anchor.media.writer import write_video
from anchor.models import LipGenerator, describe

NUM_BITS = 8
COUNT = 120  # pictures, shown back and forth


class FaceInTheMiddle:
    """Finds one face in the middle of any picture: a stand-in for YuNet."""

    name = "stand-in"

    def detect(self, frame: np.ndarray) -> list[Face]:
        """A face of 0.4 of the picture's side."""
        size = len(frame)
        box = np.array([0.3, 0.22, 0.7, 0.72], np.float32) * size
        points = np.array([(0.41, 0.41), (0.59, 0.41), (0.5, 0.5), (0.43, 0.6), (0.57, 0.6)], np.float32) * size
        return [Face(box, 0.9, points)]


def coded_picture(number: int, size: int) -> np.ndarray:
    """uint8 RGB (size, size, 3): a smooth ground, a dark mouth, and ``number`` in cells along the lower edge."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    picture = np.stack([120 + 50 * np.sin(9 * x + k) + 30 * np.cos(7 * y - k) for k in range(3)], -1)
    picture[np.hypot((x - 0.5) * 1.2, y - 0.6) < 0.16] = 4
    cell = size // NUM_BITS
    for bit in range(NUM_BITS):
        picture[-size // 10 :, bit * cell : (bit + 1) * cell] = 235 if number >> bit & 1 else 16
    return np.clip(picture, 0, 255).astype(np.uint8)


def shown_number(tick: int, count: int = COUNT) -> int:
    """The picture of a tick, of an avatar that idles back and forth."""
    place = tick % (2 * count - 2)
    return min(place, 2 * count - 2 - place)


def small_net() -> nn.Module:
    """A network that any machine draws in time."""
    return LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)


def build_coded(out: Path, net: nn.Module | None = None, size: int = 256, name: str = "", actions: str = "") -> Path:
    """An avatar package at ``out`` of the coded pictures and an untrained network; ``actions`` as 1.0-2.0: a wave."""
    import anchor.avatars.builder as builder

    torch.manual_seed(1)
    net = net or small_net()
    with torch.no_grad():
        last = getattr(net.face_decoder, "last", None)
        if last is not None:  # its gate stands open: grey, whatever the reference shows
            last.bias[3 * len(last.bias) // 4 :] = 8.0
    out.parent.mkdir(parents=True, exist_ok=True)
    film, checkpoint = out.parent / f".{out.name}.mp4", out.parent / f".{out.name}.ckpt"
    write_video(film, (coded_picture(number, size) for number in range(COUNT)))
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, checkpoint)
    before, builder.make_detector = builder.make_detector, lambda name: FaceInTheMiddle()  # type: ignore[assignment]
    try:
        build(
            video=film, checkpoint=checkpoint, out=out, name=name or out.name, idle=f"0-{COUNT / 25}", rest="original",
            actions={"wave": actions} if actions else {}, device="cpu",
        )  # fmt: skip
    finally:
        builder.make_detector = before
        film.unlink()
        checkpoint.unlink()
    return out
