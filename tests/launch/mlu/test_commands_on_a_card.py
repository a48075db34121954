"""The commands around training compute on a card what they compute on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = f"{ROOT}:{ROOT / 'tests' / 'support'}:{ROOT / 'tests' / 'faces'}"


@pytest.mark.slow
def test_inference_detection_and_evaluation_on_a_simulated_card(tmp_path, two_simulated_cards):
    environment = {**os.environ, **two_simulated_cards, "OMP_NUM_THREADS": "1", "PYTHONPATH": SUPPORT}
    command = [sys.executable, str(ROOT / "tests" / "support" / "mlu_commands.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    drawn = answers["draw"]
    assert drawn["frames"] == 13  # half a second
    assert drawn["apart"] <= 1
    assert drawn["on_card"] > 100
    found = answers["detect"]
    assert found["on_card"] > 0
    assert [len(faces) for faces in found["cpu"]] == [1, 1]
    np.testing.assert_allclose(found["mlu:1"], found["cpu"], atol=1e-3)
    assert answers["judge"] < 1e-6
    assert answers["refusals"]["auto"] == "mlu"
    beyond, *unknown = answers["refusals"]["said"]
    assert beyond == "device=mlu:2: this machine shows 2 MLU cards, from 0 on."
    assert all("is unknown. Choose one of auto, mlu, cuda, cpu" in sentence for sentence in unknown)
