"""An export speaks on a machine that has no trainer: no Lightning, Hydra, OmegaConf or wandb."""

import subprocess
import sys
import wave

import cv2
import numpy as np

from anchor.export import export
from anchor.media.reader import probe

ALONE = """
import sys

for name in ("lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb"):
    sys.modules[name] = None  # as if it were not on this machine
import numpy as np
import anchor.inference.dub as dub
from anchor.__main__ import main
from anchor.faces import Face

class StandIn:
    name = "stand-in"

    def detect(self, frame):
        return [Face(np.array([60.0, 30.0, 142.0, 130.0], np.float32), 0.9)]

dub.make_detector = lambda *options, **more: StandIn()
try:
    import lightning
except ImportError:
    for name in ("model.safetensors", "model.onnx"):
        status = main([*sys.argv[1:], f"checkpoint=out/{name}", f"out={name}.mp4"])
        if status:
            sys.exit(status)
"""


def test_an_export_speaks_without_a_trainer(small_generator, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_generator), out=tmp_path / "out")
    (tmp_path / "last.ckpt").unlink()
    y, x = np.mgrid[0:160, 0:200]
    cv2.imwrite(str(tmp_path / "face.png"), np.stack([x, y, (x + y) // 2], -1).astype(np.uint8))
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((9000 * np.sin(np.arange(4800) / 12)).astype("<i2").tobytes())
    words = ["infer", "face=face.png", "speech=speech.wav", "device=cpu"]
    done = subprocess.run([sys.executable, "-c", ALONE, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", "model.onnx"):
        assert probe(tmp_path / f"{name}.mp4").num_frames == 8
