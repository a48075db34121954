"""What a run says of shards that are not what was written, and when."""

import json
import shutil

import numpy as np
import pytest
from test_command import anchor

from anchor.ops.mel import log_mel, mel_config_hash
from anchor.shards import ShardSet, ShardSetWriter, encode_clip

WORDS = ["experiment=syncnet", "accelerator=cpu", "trainer.max_steps=4", "trainer.val_check_interval=4"]
WORDS += ["datamodule=shards", "datamodule.path=set", "datamodule.batch_size=12", "datamodule.windows_per_clip=3"]


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory):
    """Four clips of two seconds, two shards."""
    out = tmp_path_factory.mktemp("whole") / "set"
    out.mkdir()
    writer = ShardSetWriter(out, 32, mel_config_hash(), max_shard_bytes=150_000)
    for number in range(4):
        rng = np.random.default_rng(number)
        frames = list(rng.integers(0, 256, (50, 32, 32, 3), np.uint8))
        samples = rng.normal(0, 0.1, 32_000).astype(np.float32)
        members = encode_clip(frames, log_mel(samples), samples, {"key": f"c{number}"})
        writer.add(
            members, key=f"c{number}", speaker=f"s{number}", split="val" if number == 3 else "train", num_frames=50
        )
    writer.close()
    assert len(list(out.glob("*.tar"))) >= 2
    return out


@pytest.fixture
def shards(whole_set, tmp_path):
    return shutil.copytree(whole_set, tmp_path / "set")


def refused(tmp_path, *words):
    """What a run says that must not begin."""
    done = anchor("train", *WORDS, "run_dir=run", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "config.yaml").exists()  # found before a worker was started
    return done.stderr


@pytest.mark.slow
def test_a_missing_short_or_swapped_shard_is_named_before_anything_starts(shards, tmp_path):
    first, second = sorted(shards.glob("*.tar"))[:2]
    kept = first.read_bytes()
    first.unlink()
    assert first.name in refused(tmp_path)
    first.write_bytes(kept[:-512])
    assert first.name in refused(tmp_path)
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    assert first.name in refused(tmp_path)


@pytest.mark.slow
def test_cards_that_cannot_share_a_batch_are_refused_with_those_that_can(shards, tmp_path):
    said = refused(tmp_path, "accelerator.devices=5")
    assert "5 cards cannot share a global batch of 12 windows evenly. Use 4 or 6 cards" in said


@pytest.mark.slow
def test_a_flipped_byte_is_counted_and_training_goes_on_unless_none_is_allowed(shards, tmp_path):
    entry = next(clip for clip in ShardSet(shards).clips if clip.key == "c1")
    flip(shards, b"\xff\xd8\xff", entry)
    words = ["trainer.max_steps=12", "trainer.val_check_interval=12"]  # an epoch
    done = anchor("train", *WORDS, "run_dir=run", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert {(line["clip"], line["member"]) for line in lines} == {("c1", "frames.jpgs")}
    assert "is damaged" in done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["damaged_windows"] == len(lines) > 0
    done = anchor("train", *WORDS, "run_dir=strict", *words, "datamodule.max_damaged=0", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "and 0 may be" in done.stderr
    assert "Traceback" not in done.stderr


def flip(folder, needle, entry):
    """Change one byte within the twentieth picture of a clip."""
    source = ShardSet(folder)
    shard = folder / source.manifest["shards"][int(source.clips.shard_numbers[entry.location])]["name"]
    data = bytearray(shard.read_bytes())
    place = data.index(b"c1.frames.jpgs")
    for _ in range(20):
        place = data.index(needle, place + 3)
    data[place + 200] ^= 0x10
    shard.write_bytes(data)
