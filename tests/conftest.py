"""Fixtures that every test may use."""

import os
import signal
from pathlib import Path

import pytest
import torch
from stand_ins import NumberedClips

from anchor.models import LipGenerator, SyncNet

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a background job of a script has it; the tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


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
