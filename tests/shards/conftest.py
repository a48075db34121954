import hashlib
import random

import numpy as np
import pytest
from cached_shards import SIZE as SHARD_SIZE
from servers import WebServer

from anchor.ops.mel import log_mel, mel_config_hash
from anchor.shards import ShardSetWriter, encode_clip

SIZE = 48


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def make_clip(number: int, frames: int = 12):
    """Smooth coloured frames, noise for speech."""
    rng = np.random.default_rng(number)
    ramp = np.linspace(0, 200, SIZE).astype(np.uint8)
    pictures = [
        np.dstack([ramp[:, None] + 0 * ramp, 0 * ramp[:, None] + ramp, np.full((SIZE, SIZE), i * 10 % 256)])
        for i in range(frames)
    ]
    audio = (0.2 * rng.standard_normal(frames * 640)).astype(np.float32)
    return [picture.astype(np.uint8) for picture in pictures], log_mel(audio), audio


def make_set(out, numbers=range(6), codec="jpeg", max_shard_bytes=100_000, prefix="clip", frames=12):
    """A set with a clip for each number: three speakers, the last clip is held out."""
    out.mkdir(parents=True)
    writer = ShardSetWriter(out, SIZE, mel_config_hash(), max_shard_bytes=max_shard_bytes, codec=codec)
    for number in numbers:
        pictures, mel, audio = make_clip(number, frames)
        meta = {"key": f"{prefix}{number}", "offset_ms": 40.0, "silence_share": 0.25,
                "truth": {"opening": [0.5] * len(pictures)}}  # fmt: skip
        writer.add(
            encode_clip(pictures, mel, audio, meta, codec), key=f"{prefix}{number}", speaker=f"speaker{number % 3}",
            split="val" if number == numbers[-1] else "train", num_frames=len(pictures),
        )  # fmt: skip
    writer.close()
    return out


@pytest.fixture
def clip():
    return make_clip


@pytest.fixture
def new_shards():
    return make_set


@pytest.fixture
def shards(tmp_path):
    """Six clips in two or more shards."""
    return make_set(tmp_path / "shards")


@pytest.fixture
def web(tmp_path):
    """Four shards that are only bytes."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(4):
        (folder / f"shard-{number:06d}.tar").write_bytes(random.Random(number).randbytes(SHARD_SIZE))
    with WebServer(folder) as server:
        yield server


@pytest.fixture
def wanted(web):
    """(name, size, sha256) of the four shards."""
    return [
        (path.name, SHARD_SIZE, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(web.folder.iterdir())
    ]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cache"
