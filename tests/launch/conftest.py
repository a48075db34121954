import pytest
from omegaconf import OmegaConf
from saved_networks import save_network

from anchor.models import LipGenerator, SyncNet


@pytest.fixture
def generator_checkpoint(tmp_path):
    return save_network(tmp_path / "generator.ckpt", LipGenerator())


@pytest.fixture
def expert_checkpoint(tmp_path):
    return save_network(tmp_path / "expert.ckpt", SyncNet())


@pytest.fixture
def composed(tmp_path, generator_checkpoint, expert_checkpoint):
    """A resolved configuration of an experiment, small enough for a test."""
    from hydra import compose, initialize_config_module

    def make(experiment, *overrides, run_dir=tmp_path / "run"):
        paths = []
        if experiment in ("finetune", "quality"):
            paths.append(f"module.base={generator_checkpoint}")
        if experiment != "syncnet":
            paths.append(f"module.expert={expert_checkpoint}")
        small = ["accelerator=cpu", "datamodule.speakers=3", "datamodule.val_speakers=1", "datamodule.clips=1"]
        small += ["datamodule.seconds=1.2", f"run_dir={run_dir}", "trainer.max_steps=1", "trainer.val_check_interval=1"]
        with initialize_config_module("anchor.conf", version_base="1.3"):
            config = compose("train", [f"experiment={experiment}", *small, *paths, *overrides])
        return OmegaConf.to_container(config, resolve=True)

    return make
