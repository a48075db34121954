"""Face models that tests may use, and a machine that has none."""

import pytest
from tiny_pack import make_pack


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without face models."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ANCHOR_MODELS", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder of models with one pack of insightface's shape, which takes red squares for faces."""
    folder = tmp_path_factory.mktemp("models")
    make_pack(folder / "buffalo_l")
    return folder
