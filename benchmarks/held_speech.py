"""What a face gives away by itself: how much a drawn mouth moves when its speech stands still.

    python benchmarks/held_speech.py SHARDS GENERATOR.ckpt ... [seconds=8] [reference=nearest] [split=val]

Each clip is drawn with its own speech, and three times with the speech of one moment held throughout. A generator that
has learnt a person's frames by heart reads the mouth off the upper half of the face, whatever is said: its mouth goes
on moving. Printed: mean change from frame to frame of the mouth's 4 x 4 px blocks, in grey levels, and held over own;
a head that moves counts in both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from anchor.evaluation.clips import ClipShelf, EvaluationClip, choose_clips
from anchor.evaluation.measures import mouth_box
from anchor.inference import choose_references, draw_frames, load_generator, mouth_vector, pose_vector
from anchor.ops.references import lay_references
from anchor.shards import ShardSet
from anchor.timing import FPS

MOMENTS = (0.15, 0.45, 0.75)  # of the clip, whose speech is held


def motion(faces_TSSC: np.ndarray) -> float:
    """Grey levels, a mean over blocks and frames."""
    box_TCHW = mouth_box(torch.from_numpy(np.ascontiguousarray(faces_TSSC)).permute(0, 3, 1, 2)).float()
    return float(F.avg_pool2d(box_TCHW, 4).diff(dim=0).abs().mean())


def move(generator: torch.nn.Module, clip: EvaluationClip, reference: str) -> tuple[float, float]:
    """``(with its own speech, with one moment's)``."""
    looks = [np.stack([look(face) for face in clip.faces_TSSC]) for look in (pose_vector, mouth_vector)]
    count = getattr(generator, "num_references", 1)
    shown = choose_references(cast(Any, reference), np.zeros(len(clip), int), *looks, count=count)
    shown_TSSC = lay_references(clip.faces_TSSC, shown)
    moments = [list(range(len(clip)))] + [[int(part * len(clip))] * len(clip) for part in MOMENTS]
    own, *held = (
        motion(draw_frames(generator, clip.faces_TSSC, shown_TSSC, clip.mel_SM, moment)) for moment in moments
    )
    return own, float(np.mean(held))


def main() -> None:
    """A line for each generator."""
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    options = {"seconds": "8", "reference": "nearest", "split": "val"} | given
    data, *checkpoints = (word for word in sys.argv[1:] if "=" not in word)
    source = ShardSet(data)
    entries = choose_clips(source, options["split"], 48, 0)
    print("| | own speech | speech held | held / own |\n| --- | --- | --- | --- |")
    for number, checkpoint in enumerate(checkpoints):
        generator = load_generator(Path(checkpoint))
        shelf = ClipShelf(source, cast(Any, generator).image_size, round(float(options["seconds"]) * FPS))
        clips = [shelf.read(entry) for entry in entries]
        if not number:
            print(f"| the real mouth | {np.mean([motion(clip.faces_TSSC) for clip in clips]):.2f} | | |")
        own, held = np.mean([move(generator, clip, options["reference"]) for clip in clips], 0)
        print(f"| {checkpoint} | {own:.2f} | {held:.2f} | {held / own:.2f} |", flush=True)


if __name__ == "__main__":
    main()
