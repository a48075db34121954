import numpy as np
import pytest

from anchor.ops.mel import log_mel, mel_config_hash
from anchor.shards import ShardSetWriter, encode_clip

SIZE = 48


def make_clip(number: int, frames: int = 12):
    """Smooth coloured frames, noise for speech."""
    rng = np.random.default_rng(number)
    ramp = np.linspace(0, 200, SIZE).astype(np.uint8)
    pictures = [
        np.dstack([ramp[:, None] + 0 * ramp, 0 * ramp[:, None] + ramp, np.full((SIZE, SIZE), i * 10)])
        for i in range(frames)
    ]
    audio = (0.2 * rng.standard_normal(frames * 640)).astype(np.float32)
    return [picture.astype(np.uint8) for picture in pictures], log_mel(audio), audio


@pytest.fixture
def clip():
    return make_clip


@pytest.fixture
def shards(tmp_path):
    """Six clips in two or more shards."""
    out = tmp_path / "shards"
    out.mkdir()
    writer = ShardSetWriter(out, SIZE, mel_config_hash(), max_shard_bytes=100_000)
    for number in range(6):
        frames, mel, audio = make_clip(number)
        meta = {"key": f"clip{number}", "truth": {"opening": [0.5] * len(frames)}}
        writer.add(
            encode_clip(frames, mel, audio, meta), key=f"clip{number}", speaker=f"speaker{number % 3}",
            split="val" if number == 5 else "train", num_frames=len(frames),
        )  # fmt: skip
    writer.close()
    return out
