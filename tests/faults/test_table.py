"""The table of faults leads to tests that exist, and numbers all fifteen cases."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("README.md").read_text(encoding="utf-8")


def test_every_test_of_the_table_exists_and_no_case_is_without():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ") and "::" in line]
    for row in rows:
        named = re.findall(r"`([^`]+\.py)::(\w+)`", row)
        assert named
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            functions = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
            assert name in functions, f"{path}::{name}"
    numbers = [int(row.split("|")[1]) for row in rows if row.split("|")[1].strip().isdigit()]
    assert numbers == list(range(1, 16))


def test_no_test_of_this_folder_is_left_out_of_the_table():
    for path in Path(__file__).parent.glob("test_*.py"):
        if path.name == Path(__file__).name:
            continue
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"tests/faults/{path.name}::{name}" in TABLE, name
