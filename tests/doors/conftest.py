import pytest
from small_avatars import built, checkpoint, picture, video  # noqa: F401  # fixtures

from anchor.__main__ import main


@pytest.fixture
def mark(tmp_path):
    """A file that only hostile code would make; the test fails where it is there at the end."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists(), "hostile code ran"


@pytest.fixture
def refused(capfd, monkeypatch):
    """Run a command that must refuse what it is given in one sentence; the sentence."""

    def run(*words, status=2):
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        monkeypatch.setattr("launch.spares.count_spares", lambda accelerator: 0)  # no rank is begun with
        try:
            ended = main([str(word) for word in words])
        except SystemExit as leave:  # a job of Hydra's
            ended = leave.code
        assert ended == status
        said = capfd.readouterr().err.strip()
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith("anchor "), said
        return said.splitlines()[-1]

    return run
