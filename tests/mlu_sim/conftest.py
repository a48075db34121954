import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.mlu_sim import why_not

ROOT = Path(__file__).resolve().parents[2]
START = "import runpy; from launch.mlu_sim import activate; activate(); runpy.run_path({!r}, run_name='__main__')"


@pytest.fixture(scope="session")
def simulate():
    """Run a program with two simulated cards in a process of its own; returns what it printed."""

    def run(program, *, timeout_s=300, status=0, **variables):
        environment = {**os.environ, "ANCHOR_MLU_SIM": "2", "OMP_NUM_THREADS": "1", **variables}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
        code = START.format(str(program)) if isinstance(program, Path) else program
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout_s, env=environment
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + (done.stderr if status else "")

    return run


@pytest.fixture(scope="session", autouse=True)
def _has_compiler():
    if reason := why_not():
        pytest.skip(reason)
