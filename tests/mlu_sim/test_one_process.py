"""One process with two simulated cards: the checks of ``mlu_checks.py``, all in one start."""

import ast
import json
from pathlib import Path

import pytest

CHECKS = Path(__file__).resolve().parents[1] / "support" / "mlu_checks.py"
NAMES = [
    node.name
    for node in ast.parse(CHECKS.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(simulate):
    return json.loads(simulate(CHECKS, ANCHOR_MLU_SIM_MEMORY_GB="1", ANCHOR_MLU_SIM_NAME="MLU370-X8"))


@pytest.mark.parametrize("name", NAMES)
def test_simulated_card(name, results):
    assert results[name] is None, results[name]
