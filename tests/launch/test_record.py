"""A refused command leaves the record of the run in its folder as it was."""

import logging
import os

import pytest

from anchor.__main__ import main
from launch.locks import claim
from launch.record import RUN_LOCK, RunRecord


def test_the_configuration_is_put_back_unless_the_run_has_saved(tmp_path):
    config, last = tmp_path / "config.yaml", tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.write_bytes(b"one")
    config.write_text("seed: 0")
    record = RunRecord(tmp_path)
    config.write_text("seed: 5")
    record.put_back()
    assert config.read_text() == "seed: 0"
    record = RunRecord(tmp_path)
    config.write_text("seed: 5")
    last.write_bytes(b"two")
    os.utime(last, ns=(1, last.stat().st_mtime_ns + 10**9))
    record.put_back()
    assert config.read_text() == "seed: 5"


def test_a_folder_without_a_run_stays_as_it_is(tmp_path):
    record = RunRecord(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 5")
    record.put_back()
    assert (tmp_path / "config.yaml").read_text() == "seed: 5"


def test_a_command_refused_before_it_began_leaves_no_folder(tmp_path):
    new, used = tmp_path / "new", tmp_path / "used"
    for folder in (new, used):
        (folder / ".hydra").mkdir(parents=True)
    (used / "metrics.jsonl").write_text("{}")
    for folder in (new, used):
        RunRecord(folder).leave_nothing()
    assert not new.exists()
    assert (used / ".hydra").is_dir()
    begun = tmp_path / "begun"
    begun.mkdir()
    record = RunRecord(begun)
    (begun / "config.yaml").write_text("seed: 5")
    record.leave_nothing()
    assert (begun / "config.yaml").is_file()


def test_the_log_of_a_folder_that_is_gone_is_written_to_no_more(tmp_path):
    (tmp_path / "new" / ".hydra").mkdir(parents=True)
    root, handler = logging.getLogger(), logging.FileHandler(tmp_path / "new" / "cli.log")
    root.addHandler(handler)
    RunRecord(tmp_path / "new").leave_nothing()
    assert handler not in root.handlers
    assert not (tmp_path / "new").exists()


def test_a_second_training_in_a_folder_is_refused_and_leaves_the_first_alone(tmp_path, monkeypatch, capfd):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    monkeypatch.setattr("launch.spares.count_spares", lambda accelerator: 0)  # no rank is begun with
    with claim(run_dir / RUN_LOCK, "the first"):
        with pytest.raises(SystemExit) as leave:
            main(["train", "experiment=syncnet", "accelerator=cpu", f"run_dir={run_dir}"])
        assert leave.value.code == 2
        said = capfd.readouterr().err.strip()
        assert said.startswith(f"anchor train: {run_dir}: another training runs there (process {os.getpid()} on ")
        assert said.endswith("Wait for it, or give another folder.")
        assert "\n" not in said
        assert {path.name for path in run_dir.iterdir()} <= {RUN_LOCK, ".hydra", "cli.log"}
