"""The commands of docs/quickstart-mlu.md run as they stand there, on two simulated cards and with fewer steps."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import WandbStandIn

from anchor.synth.corpus import render_corpus
from launch.demo import write_speech
from launch.mlu_sim import why_not

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quickstart-mlu.md"
SMALLER = {
    "check mlu": [],
    "train": [
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        "accelerator=mlu_sim",
        "accelerator.devices=2",
        "gates=off",
    ],
    "evaluate": ["reader_steps=10", "max_clips=2"],
}


def commands():
    blocks = "".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL))
    lines = blocks.replace("\\\n", " ").splitlines()
    assert all(line.startswith("anchor ") for line in lines)  # or the test would pass over what it does not know
    return [shlex.split(line)[1:] for line in lines]


def test_the_page_goes_all_the_way():
    assert [words[0] for words in commands()] == [
        "check", "check", "material", "preprocess", "preprocess", "shards", "train", "train", "sweep", "train", "train",
        "track", "evaluate", "infer", "export",
    ]  # fmt: skip
    trained = [words for words in commands() if words[0] == "train"]
    assert all("accelerator=mlu8" in words and "logger=wandb" in words for words in trained)


def make_smaller(words):
    more = SMALLER.get(words[0], [])
    keys = {word.partition("=")[0] for word in more}
    return [word for word in words if word.partition("=")[0] not in keys] + more


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_every_command_of_the_page_runs_on_two_simulated_cards(tmp_path):
    render_corpus(out=tmp_path / "videos", speakers=4, clips=1, seconds=2, size=160, workers=1)
    render_corpus(out=tmp_path / "film", speakers=1, clips=1, seconds=3, size=160, seed=3, workers=1)
    shutil.move(next((tmp_path / "film").rglob("*.mp4")), tmp_path / "me.mp4")
    write_speech(tmp_path / "voice.wav", "This is my voice.")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ANCHOR_MLU_SIM": "2"}
    environment |= {"WANDB_CONFIG_DIR": str(tmp_path / "none"), "NETRC": str(tmp_path / "no-netrc")}
    with WandbStandIn() as web:
        for words in commands():
            if "--qualify" in words:
                continue  # tests/mlu_sim/test_qualify.py runs it
            keyed = {"WANDB_MODE": "offline"}
            if words[0] == "track":
                keyed = {"WANDB_BASE_URL": web.url, "WANDB_API_KEY": web.key}
            done = subprocess.run(
                [sys.executable, "-m", "anchor", *make_smaller(words)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                env={**environment, **keyed},
            )
            assert done.returncode == 0, f"anchor {shlex.join(words)}\n{done.stdout}{done.stderr}"
            if words[0] == "train":
                assert "2 x mlu (MLU590-M9, simulated)" in done.stdout
        stages = sorted(run["about"].get("jobType", "") for run in web.runs.values())
    assert len(stages) == 5  # the expert, two jobs of the sweep, and two stages of the person
    sweep = [json.loads((tmp_path / "runs" / "lr" / str(job) / "job.json").read_text()) for job in (0, 1)]
    assert [job["status"] for job in sweep] == ["done", "done"]
    assert (tmp_path / "runs" / "lr" / "sweep.html").is_file()
    assert (tmp_path / "runs" / "report" / "report.html").is_file()
    assert (tmp_path / "speaking.mp4").stat().st_size > 10_000
    assert (tmp_path / "person-export" / "model.onnx").is_file()
