import pytest
from omegaconf import OmegaConf

from launch.worker import run


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    """The tests must neither find nor use the account of whoever runs them."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-settings"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def start():
    """Train what a configuration describes, in this process."""

    def _start(config):
        from pathlib import Path

        path = Path(config["run_dir"]) / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
        return run(path)

    return _start
