import json

import pytest
from saved_networks import save_network as save_checkpoint

from anchor.synth.source import SyntheticSource


@pytest.fixture
def save_network(tmp_path):
    """A checkpoint as a stage leaves it."""

    return lambda net, name="net.ckpt": save_checkpoint(tmp_path / name, net)


@pytest.fixture(scope="session")
def speakers():
    """Drawn speakers, 10 to learn from and 4 held out, 3 s each."""
    return SyntheticSource(speakers=14, clips=1, seconds=3.0, image_size=64, seed=3, val_speakers=4)


@pytest.fixture(scope="session")
def minutes():
    """Drawn speakers with two clips each, 3 s long."""
    return SyntheticSource(speakers=3, clips=2, seconds=3.0, image_size=32, seed=4, val_speakers=1)


@pytest.fixture
def run_dir(tmp_path):
    """A run whose record was cut off within a line."""
    folder = tmp_path / "runs" / "generator"
    folder.mkdir(parents=True)
    lines = [{"step": i, "epoch": 0, "seconds": i / 10, "train/l1": 1 / (i + 1)} for i in range(1, 600)]
    lines += [
        {"step": 300, "epoch": 0, "seconds": 30, "val/l1": 0.2},
        {"step": 600, "epoch": 1, "seconds": 60, "val/l1": 0.1},
    ]
    folder.joinpath("metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 601, "train/l')
    return folder
