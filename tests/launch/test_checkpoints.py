import contextlib
import resource

import pytest
import torch

from anchor.errors import CheckpointError
from launch.checkpoints import AtomicCheckpointIO
from launch.worker import main


@contextlib.contextmanager
def largest_file(num_bytes):
    """As on a full disk: no file of this process grows beyond ``num_bytes``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_save_leaves_the_old_checkpoint_whole(tmp_path):
    path = tmp_path / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint({"step": 1, "weight": torch.ones(3)}, path)
    with largest_file(100_000), pytest.raises(CheckpointError, match=r"last.ckpt: .* could not be .* is untouched"):
        io.save_checkpoint({"step": 2, "weight": torch.ones(100_000)}, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True)["step"] == 1
    io.save_checkpoint({"step": 2, "weight": torch.ones(100_000)}, path)
    assert torch.load(path, weights_only=True)["step"] == 2


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "file" / "last.ckpt")


def test_a_full_disk_ends_a_run_with_one_sentence(composed, tmp_path, capsys):
    from omegaconf import OmegaConf

    path = tmp_path / "run" / "config.yaml"
    path.parent.mkdir()
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(composed("syncnet", "trainer.max_steps=2"))))
    with largest_file(300_000):
        assert main([str(path)]) == 2
    said = capsys.readouterr().err
    assert "the checkpoint could not be written" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert main([str(path)]) == 0
