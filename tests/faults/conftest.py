"""The run that nobody touches, and bad moments in those that are compared with it."""

import json
from pathlib import Path

import pytest
from small_ranks import finish, start

FAULTY = Path(__file__).resolve().parents[1] / "support" / "faulty"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The run that nobody touches."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder, "run_dir=run"))
    return folder / "run"


@pytest.fixture
def faults(tmp_path):
    """``faults([what, rank, place, batch], ...)``: what a run must find in its environment."""
    folder = tmp_path / "faults"
    folder.mkdir()

    def plan(*moments):
        for path in folder.glob("came-*"):
            path.unlink()
        (folder / "faults.json").write_text(json.dumps(moments))
        return {"ANCHOR_TEST_FAULTS": str(folder), "PYTHONPATH": str(FAULTY)}

    plan.came = lambda: sorted(int(path.name.partition("-")[2]) for path in folder.glob("came-*"))
    plan.read = lambda number: (folder / f"came-{number}").read_text()
    return plan
