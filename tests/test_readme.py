"""The commands of README.md run as they stand there, only smaller."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anchor.synth.corpus import render_corpus
from launch.demo import write_speech

README = Path(__file__).resolve().parents[1] / "README.md"
SMALLER = {
    "synth": ["speakers=6", "clips=1", "seconds=2"],
    "train": ["trainer.max_steps=2", "trainer.val_check_interval=2", "accelerator=cpu", "gates=off"],
    "evaluate": ["reader_steps=10"],
}


def commands():
    block = re.search(r"## The chain by hand.*?```bash\n(.*?)```", README.read_text(), re.DOTALL)[1]
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("anchor ")]


def test_every_command_of_the_tool_is_shown():
    assert [words[1] for words in commands()] == [
        "check", "material", "synth", "preprocess", "preprocess", "train", "train", "train", "train", "evaluate",
        "infer", "export",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_chain_by_hand(tmp_path):
    render_corpus(out=tmp_path / "film", speakers=1, clips=1, seconds=4, size=160, seed=3, workers=1)
    shutil.move(next((tmp_path / "film").rglob("*.mp4")), tmp_path / "me.mp4")
    write_speech(tmp_path / "voice.wav", "This is my voice.")
    for _, name, *words in commands():
        keys = {word.partition("=")[0] for word in SMALLER.get(name, [])}
        words = [word for word in words if word.partition("=")[0] not in keys] + SMALLER.get(name, [])
        done = subprocess.run(
            [sys.executable, "-m", "anchor", name, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, f"anchor {name} {' '.join(words)}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "speaking.mp4").stat().st_size > 10_000
    assert (tmp_path / "runs" / "report" / "report.html").is_file()
    assert (tmp_path / "runs" / "material-me" / "material.html").is_file()
    assert (tmp_path / "person-export" / "model.onnx").is_file()
