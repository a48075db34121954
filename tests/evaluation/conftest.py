import pytest
import torch

from anchor.models import describe
from anchor.synth.source import SyntheticSource


@pytest.fixture
def save_network(tmp_path):
    """A checkpoint as a stage leaves it."""

    def save(net, name="net.ckpt"):
        weights = {f"net.{key}": value for key, value in net.state_dict().items()}
        path = tmp_path / name
        torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, path)
        return path

    return save


@pytest.fixture(scope="session")
def speakers():
    """Drawn speakers, 10 to learn from and 4 held out, 3 s each."""
    return SyntheticSource(speakers=14, clips=1, seconds=3.0, image_size=64, seed=3, val_speakers=4)
