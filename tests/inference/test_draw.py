"""Inference hears what training hears, and redraws the lower half only."""

import numpy as np
import torch
from torch import nn

from anchor.inference import draw_frames
from anchor.ops.images import lower_half
from datamodules.order import WindowKey
from datamodules.windows import WindowDataset


class Recorder(nn.Module):
    """A stand-in for a generator: keeps what it is given, draws grey."""

    def __init__(self):
        super().__init__()
        self.stacks, self.mels = [], []

    def forward(self, face_N6HW, mel_N1MS):
        self.stacks.append(face_N6HW.clone())
        self.mels.append(mel_N1MS.clone())
        return torch.zeros_like(lower_half(face_N6HW[:, :3]))


def test_the_mel_window_of_a_frame_is_that_of_training(numbered_clips):
    source = numbered_clips()
    dataset = WindowDataset(source, "val", image_size=32, seed=0)
    batch = dataset[[WindowKey(0, frame, 0) for frame in (2, 10, 33)]].batch
    clip = dataset.clips[0]
    recorder = Recorder()
    faces = source.read_frames(clip, range(clip.num_frames))
    draw_frames(recorder, faces, faces, source.read_mel(clip), range(clip.num_frames), batch_size=7)
    heard = torch.cat(recorder.mels)
    for i, centre in enumerate((2, 10, 33)):
        assert torch.equal(batch["mels_BT1MS"][i], heard[centre - 2 : centre + 3])
        assert torch.equal(batch["mel_B1MS"][i], heard[centre])


def test_the_generator_never_sees_the_mouth_it_replaces(numbered_clips):
    recorder, rng = Recorder(), np.random.default_rng(0)
    faces = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    references = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    drawn = draw_frames(recorder, faces, references, np.zeros((40, 80), np.float32), [0, 1, 2, 3])
    stack = torch.cat(recorder.stacks)
    assert (lower_half(stack[:, :3]) == 0).all()
    assert torch.allclose(
        (stack[:, 3:] + 1) * 127.5, torch.from_numpy(references).permute(0, 3, 1, 2).float(), atol=1e-3
    )
    assert (drawn[:, :16] == faces[:, :16]).all()
    assert (drawn[:, 16:] == 128).all()


def test_batches_do_not_change_the_picture(small_generator):
    rng = np.random.default_rng(1)
    faces = rng.integers(0, 256, (9, 32, 32, 3), np.uint8)
    mel = rng.uniform(-4, 4, (60, 80)).astype(np.float32)
    whole = draw_frames(small_generator.eval(), faces, faces[::-1], mel, range(9), batch_size=9)
    parts = draw_frames(small_generator, faces, faces[::-1], mel, range(9), batch_size=2)
    assert np.abs(whole.astype(int) - parts).max() <= 1  # rounding
