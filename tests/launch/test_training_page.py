"""Every command of docs/training.md is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from anchor.arguments import parse_arguments

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("anchor ")]


def test_there_are_commands():
    assert len(commands()) > 20


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("anchor train")])
def test_every_training_composes(command):
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from launch.hints import check_names
    from launch.targets import check_targets

    words = shlex.split(command)[2:]
    check_names(words)
    with initialize_config_module("anchor.conf", version_base="1.3"):
        config = compose("train", words)
    check_targets(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


@pytest.mark.parametrize("command", [line for line in commands() if not line.startswith("anchor train")])
def test_every_other_command_knows_its_keys(command):
    from anchor.export import export
    from anchor.inference import infer

    _, name, *words = shlex.split(command)
    parse_arguments({"infer": infer, "export": export}[name], words)
