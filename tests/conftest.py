"""Fixtures that every test may use."""

import logging
import os
import signal
from pathlib import Path

import pytest
import torch
from stand_ins import NumberedClips

from anchor.models import LipGenerator, SyncNet

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a background job of a script has it; the tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as `nohup make test` has it; the tests close terminals
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


ROOT = Path(__file__).resolve().parent.parent
LONGEST = (
    "tests/test_demo.py", "tests/preprocess/test_preprocess_counts.py", "tests/preprocess/test_executors.py",
    "tests/launch/test_resume.py", "tests/test_quickstart_mlu.py", "tests/launch/sweeps/test_ranks.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """The longest files first: of two that run side by side, the last to begin is the one that is waited for."""
    items.sort(key=lambda item: next((i for i, path in enumerate(LONGEST) if path in item.nodeid), len(LONGEST)))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """Hydra, in a test's own process, leaves handlers whose files are closed or gone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real clips and face models, which are no part of the repository."""
    path = Path(os.environ.get("ANCHOR_TEST_DATA", ROOT.parent / "shared"))
    if not (path / "data" / "clips").is_dir():
        pytest.skip(f"real clips are not at {path} (set ANCHOR_TEST_DATA)")
    return path


@pytest.fixture
def numbered_clips():
    return NumberedClips


@pytest.fixture
def small_expert():
    torch.manual_seed(0)
    return SyncNet(image_size=32, width=2, embedding_size=8)


@pytest.fixture
def small_generator():
    torch.manual_seed(1)
    return LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
