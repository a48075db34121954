"""The tensor parts of inference, preprocessing and evaluation on a simulated card and on the CPU; prints JSON."""

import json
import sys
import wave
from pathlib import Path

from launch import mlu_sim

mlu_sim.activate()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch_mlu.simulation import count_operators  # noqa: E402

import anchor.inference.dub  # noqa: E402
from anchor.device import resolve_device  # noqa: E402
from anchor.errors import DeviceError  # noqa: E402
from anchor.evaluation.sync import embed_clip  # noqa: E402
from anchor.faces import Face  # noqa: E402
from anchor.models import LipGenerator, SyncNet, describe  # noqa: E402

FOLDER = Path(sys.argv[1])


class StandInDetector:
    """Finds one face at a fixed place: a stand-in for YuNet."""

    name = "stand-in"

    def detect(self, frame):
        return [Face(np.array((60.0, 30.0, 142.0, 130.0), np.float32), 0.9)]


def draw():
    """Frames that `anchor infer` draws on both, and how the card's differ."""
    anchor.inference.dub.make_detector = lambda name: StandInDetector()
    torch.manual_seed(1)
    net = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, FOLDER / "net.ckpt")
    y, x = np.mgrid[0:160, 0:200].astype(np.float32)
    face = np.stack([128 + 70 * np.sin(x / 23 + k) + 40 * np.cos(y / 17 - k) for k in range(3)], -1)
    Image.fromarray(np.clip(face, 1, 255).astype(np.uint8)).save(FOLDER / "face.png")
    samples = 0.3 * np.sin(2 * np.pi * 220 * np.arange(8000) / 16000)
    with wave.open(str(FOLDER / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    for device in ("cpu", "mlu"):
        with count_operators() as ran:
            anchor.inference.dub.infer(
                face=FOLDER / "face.png", speech=FOLDER / "speech.wav", checkpoint=FOLDER / "net.ckpt",
                out=FOLDER / device, output="frames", device=device,
            )  # fmt: skip
    pairs = [(path, FOLDER / "mlu" / path.name) for path in sorted((FOLDER / "cpu").glob("*.png"))]
    apart = [np.abs(np.asarray(Image.open(a), int) - np.asarray(Image.open(b), int)).max() for a, b in pairs]
    return {"frames": len(pairs), "apart": int(max(apart)), "on_card": sum(ran.values())}


def detect():
    """Faces that the torch detector finds on both."""
    from tiny_pack import make_pack, red_square

    from anchor.faces.batch import BatchedScrfd

    make_pack(FOLDER / "models" / "buffalo_l")
    pictures = [red_square(240, 320, square) for square in ((40, 30, 60), (150, 90, 80))]
    found = {}
    with count_operators() as ran:
        for device in ("cpu", "mlu:1"):
            detector = BatchedScrfd(FOLDER / "models" / "buffalo_l" / "det_10g.onnx", resolve_device(device), 3)
            found[device] = [
                [[*face.box.tolist(), float(face.score)] for face in some] for some in detector.detect_batch(pictures)
            ]
    return {**found, "on_card": sum(ran.values())}


def judge():
    """Embeddings that the expert of an evaluation gives on both."""
    torch.manual_seed(0)
    expert = SyncNet(image_size=32, width=2, embedding_size=8).eval()
    faces = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    mel = np.random.default_rng(1).normal(size=(40, 80)).astype(np.float32)
    ours, theirs = embed_clip(expert, faces, mel), embed_clip(expert.to("mlu"), faces, mel)
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def refusals():
    """What `device=` is answered with."""
    said = []
    for name in ("mlu:2", "mlu:x", "npu"):
        try:
            resolve_device(name)
        except DeviceError as error:
            said.append(str(error))
    return {"auto": str(resolve_device("auto")), "said": said}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({question.__name__: question() for question in (draw, detect, judge, refusals)}))
