"""Two simulated cards: the checks of ``mlu_checks.py`` and ``mlu_card_checks.py`` in one process, and those of
``mlu_rank_checks.py`` on two ranks.
"""

import ast
import json
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = pytest.mark.slow


def names_in(program):
    nodes = ast.parse(program.read_text()).body
    return [node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")]


@pytest.fixture(scope="module")
def one_process(simulate):
    return json.loads(
        simulate(SUPPORT / "mlu_checks.py", ANCHOR_MLU_SIM_MEMORY_GB="1", ANCHOR_MLU_SIM_NAME="MLU370-X8")
    )


@pytest.fixture(scope="module")
def two_ranks(simulate):
    return json.loads(simulate(SUPPORT / "mlu_rank_checks.py"))


@pytest.mark.parametrize("name", names_in(SUPPORT / "mlu_card_checks.py") + names_in(SUPPORT / "mlu_checks.py"))
def test_a_card(name, one_process):
    assert one_process[name] is None, one_process[name]


@pytest.mark.parametrize("name", names_in(SUPPORT / "mlu_rank_checks.py"))
def test_two_cards(name, two_ranks):
    assert two_ranks[name] is None, two_ranks[name]
