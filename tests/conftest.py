"""Fixtures that every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from anchor.batch import ClipEntry
from anchor.models import LipGenerator, SyncNet

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real clips and face models, which are no part of the repository."""
    path = Path(os.environ.get("ANCHOR_TEST_DATA", ROOT.parent / "shared"))
    if not (path / "data" / "clips").is_dir():
        pytest.skip(f"real clips are not at {path} (set ANCHOR_TEST_DATA)")
    return path


class NumberedClips:
    """A clip source whose pictures and mels tell which clip and frame they are: a stand-in for shards."""

    def __init__(self, lengths=(30, 40, 20, 36), val=1, image_size=32):
        self.image_size = image_size
        self.clips = [
            ClipEntry(f"clip{i}", f"speaker{i}", "val" if i >= len(lengths) - val else "train", length, i)
            for i, length in enumerate(lengths)
        ]
        self.reads = 0

    def read_frames(self, clip, frames):
        self.reads += 1
        pictures = np.zeros((len(frames), self.image_size, self.image_size, 3), np.uint8)
        pictures[..., 0] = clip.location * 10
        pictures[..., 1] = np.array(list(frames))[:, None, None]
        return pictures

    def read_mel(self, clip):
        steps = np.arange(clip.num_frames * 16 // 5 + 1, dtype=np.float32)
        return np.repeat(steps[:, None] / 100 + clip.location / 2 - 2, 80, axis=1)

    def read_audio(self, clip):
        return np.zeros(clip.num_frames * 640, np.float32)

    def read_meta(self, clip):
        return {}


@pytest.fixture
def numbered_clips():
    return NumberedClips


@pytest.fixture
def small_expert():
    torch.manual_seed(0)
    return SyncNet(image_size=32, width=2, embedding_size=8)


@pytest.fixture
def small_generator():
    torch.manual_seed(1)
    return LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
