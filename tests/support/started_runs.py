"""Runs in this very process, from a composed configuration; and every experiment there is."""

from pathlib import Path

from omegaconf import OmegaConf

from launch.worker import run

CONF = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def start(config, run_dir):
    run_dir.mkdir(exist_ok=True)
    path = run_dir / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    return run(path)
