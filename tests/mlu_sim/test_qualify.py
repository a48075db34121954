"""`anchor check mlu --qualify`: passes on two simulated cards, and survives whatever an item does."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anchor.__main__ import main
from launch.mlu_qualify.outcome import SHOWS_NOTHING

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.mark.skipif(importlib.util.find_spec("torch_mlu") is not None, reason="a torch_mlu is installed")
def test_a_machine_without_cards_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("ANCHOR_MLU_SIM", raising=False)
    monkeypatch.chdir(tmp_path)
    for words in (["--qualify"], ["qualify=true"]):
        assert main(["check", "mlu", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("anchor check mlu: torch_mlu is not installed, so there is no MLU card to qualify.")
        assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert main(["check", "mlu"]) == 0
    assert re.search(r"^torch_mlu +absent", capsys.readouterr().out, re.MULTILINE)
    assert main(["check", "mlu", "qualify=true", "model=wav2lip69"]) == 2
    assert "Did you mean wav2lip96?" in capsys.readouterr().err


@pytest.mark.slow
def test_whatever_an_item_does_the_next_one_runs(tmp_path):
    environment = {**os.environ, "ANCHOR_MLU_SIM": "2", "OMP_NUM_THREADS": "1"}
    root = SUPPORT.parents[1]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (root / "launch" / "mlu_sim" / "site", root, SUPPORT)))
    words = [sys.executable, str(SUPPORT / "mlu_run_items.py"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["works", "ok", "hello from rank 0 of 1"],
        ["works", "ok", "hello from rank 0 of 2"],
        ["works", "skipped", "needs 3 cards, and 2 can be seen"],
        ["works", "skipped", SHOWS_NOTHING],
        ["raises", "failed", "ValueError: a card said no"],
        ["crashes", "failed", f"the process ended with status -11; its words: {tmp_path / 'crashes.log'}"],
        ["sleeps", "failed", f"no answer within 2 s; its words: {tmp_path / 'sleeps.log'}"],
        ["second_rank_raises", "failed", "ValueError: rank 1 said no"],
        ["is_unfit", "not on this card", "no such unit"],
    ]
    assert "words of an item" in (tmp_path / "works.log").read_text()
    assert "and more" in (tmp_path / "raises.log").read_text()


@pytest.mark.slow
def test_simulated_cards_pass(tmp_path):
    environment = {**os.environ, "ANCHOR_MLU_SIM": "2", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "anchor", "check"]
    table = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300).stdout
    assert re.search(r"^cards +ok +MLU590-M9, MLU590-M9; device=auto is mlu$", table, re.MULTILINE), table
    words = [sys.executable, "-m", "anchor", "check", "mlu", "--qualify", f"out={tmp_path / 'out'}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    states = {row["item"]: row["state"] for row in report["items"]}
    assert report["is_simulated"]
    assert report["versions"]["torch_mlu"].endswith("+sim")
    assert len(states) >= 30
    assert {item for item, state in states.items() if state != "ok"} <= {
        "cnmon", "MLUGraph", "several machines", "device_id", "FSDP2 really shards",
    }  # fmt: skip
    assert states["gradients on 2 cards"] == states["operators"] == states["Trainer on 2 cards"] == "ok"
    text = (tmp_path / "out" / "report.md").read_text()
    assert "**Simulated cards:" in text
    assert all(f"| {item} |" in text for item in states)
    assert all(re.search(rf"^{re.escape(item)}  ", done.stdout, re.MULTILINE) for item in states)
